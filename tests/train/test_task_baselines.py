"""What the report says of a model beside baselines: who is stronger, by how much, and how sure that is."""

from typing import Any

import pytest

from privllm.stats.text_overlap import rouge_l, word_f1
from privllm.tasks import label_baselines
from privllm.tasks.formats import Classified, Content, Example, InputOutput, Tagged
from privllm.tasks.label_baselines import MAJORITY, NOT_INSTALLED, TFIDF, WORD_FORM
from privllm.tasks.splits import Divided
from privllm.tasks.text_baselines import BM25, COPIED_INPUT
from privllm.train.predictions import HeldOutResults, answer_of, scores_of
from privllm.train.task_baselines import compared_with_baselines


def no_more(expected: Any, given: Any) -> dict:
    return {}


def examples(contents: list[Content]) -> tuple[Example, ...]:
    return tuple(Example(line, str(line), str(line), "", content) for line, content in enumerate(contents, 1))


def compare(kind: str, train: list[Content], test: list[Content], given: list[Any], more: Any = no_more) -> dict:
    divided = Divided(examples(train), (), examples(test), (), {})
    answered = list(range(len(given)))
    expected = [answer_of(divided.test[index]) for index in answered]
    scores, figures = scores_of(kind, expected, given, more)
    return compared_with_baselines(kind, divided, HeldOutResults(answered, given, scores, figures), more)


# of twenty held-out texts twelve are of the commonest class, and the word tells the class
TRAIN: list[Content] = [Classified(word, label) for word, label in [("good film", "pos"), ("bad film", "neg")] * 20]
TRAIN.append(Classified("fine film", "pos"))
TEST: list[Content] = [Classified("good film", "pos")] * 12 + [Classified("bad film", "neg")] * 8
RIGHT = ["pos"] * 12 + ["neg"] * 8


@pytest.fixture
def no_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_baselines, "installed", lambda name: False)


def test_a_model_that_loses_is_told_so_with_both_names() -> None:
    pytest.importorskip("sklearn")
    found = compare("classification", TRAIN, TEST, ["neg"] * 20)
    assert {name: scores["accuracy"] for name, scores in found["scores"].items()} == {MAJORITY: 0.6, TFIDF: 1.0}
    assert (found["strongest"], found["beaten"], found["judged_by"]) == (TFIDF, False, "accuracy")
    first, second = found["sentences"]
    assert first.startswith(
        f"The model loses to the strongest baseline, {TFIDF}: accuracy 0.400 against 1.000 (difference -0.600, 95 %"
    )
    assert second == f"It is also below {MAJORITY} (0.600)."
    assert found["difference"][TFIDF]["high"] < 0


def test_without_scikit_learn_the_report_says_how_to_get_it(no_sklearn: None) -> None:
    found = compare("classification", TRAIN, TEST, RIGHT)
    assert found["not_computed"] == {TFIDF: NOT_INSTALLED}
    assert (found["strongest"], found["beaten"]) == (MAJORITY, True)
    assert found["scores"] == {MAJORITY: {"accuracy": 0.6, "macro_f1": 0.375}}
    first, second = found["sentences"]
    assert first.startswith(
        "The model beats the strongest baseline, majority: accuracy 1.000 against 0.600 (difference +0.400, 95 %"
    )
    assert second == f"{TFIDF} was not computed: {NOT_INSTALLED}."


@pytest.mark.parametrize(
    ("wrong", "said"), [(8, "is not shown to beat"), (7, "is not shown to beat"), (9, "loses to"), (0, "beats")]
)
def test_only_an_interval_above_0_is_a_victory(no_sklearn: None, wrong: int, said: str) -> None:
    given = ["neg" if label == "pos" else label for label in RIGHT[:wrong]] + RIGHT[wrong:]
    found = compare("classification", TRAIN, TEST, given)
    assert found["sentences"][0].startswith(f"The model {said} the strongest baseline")
    assert found["beaten"] is (said == "beats")


@pytest.mark.parametrize(("given", "said"), [("neg", "loses to"), ("pos", "equals")])
def test_few_examples_tell_little(no_sklearn: None, given: str, said: str) -> None:
    found = compare("classification", TRAIN, TEST[:3], [given] * 3)
    assert found["sentences"][0].startswith(f"The model {said} the strongest baseline, majority")
    assert "fewer than 10 groups" in found["sentences"][0]
    assert found["difference"][MAJORITY].keys() == {"difference", "better"}


def test_words_by_their_commonest_label() -> None:
    train: list[Content] = [Tagged(("Ada", "ran"), ("B-PER", "O"))]
    found = compare("tokens", train, [Tagged(("Ada", "sat", "ran"), ("B-PER", "O", "O"))] * 10, [["O", "O", "O"]] * 10)
    # `sat` is new, and of two labels that are as common the first in the alphabet is taken
    assert found["scores"] == {WORD_FORM: {"span_f1": round(2 / 3, 6)}}
    assert found["judged_by"] == "span_f1"


def test_texts_by_rouge_and_answers_from_a_context_by_word_f1() -> None:
    plain: list[Content] = [InputOutput("a b c", "a b")] * 10
    found = compare("text2text", plain, plain, ["a b"] * 10)
    assert found["judged_by"] == "rouge_l"
    assert found["scores"][COPIED_INPUT]["rouge_l"] == pytest.approx(rouge_l("a b c", "a b"))
    assert {"bleu", "chrf", "f1", "exact_match"} < found["scores"][COPIED_INPUT].keys()
    asked: list[Content] = [InputOutput("Who ran?\n\nAda ran. Bob sat.", "Ada", "Who ran?")] * 10
    found = compare("text2text", asked, asked, ["Ada"] * 10)
    assert found["judged_by"] == "f1"
    assert found["scores"][BM25]["f1"] == pytest.approx(word_f1("Ada ran.", "Ada"))
    assert found["beaten"] is True


def test_own_scores_are_theirs_too_and_without_answers_there_is_nothing() -> None:
    plain: list[Content] = [InputOutput("a b c", "a b")] * 10

    def length(expected: Any, given: Any) -> dict:
        return {"same": scores_of("text2text", expected, given, no_more)[0]["f1"]}

    assert "same" in compare("text2text", plain, plain, ["a b"] * 10, length)["scores"][COPIED_INPUT]
    assert compare("text2text", plain, plain, []) == {}
