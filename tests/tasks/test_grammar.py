"""Sentences of annotations: where they end, which words are hidden, and that what they say is what was annotated."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from privllm.tasks.grammar import UNLABELLED, examples_of_grammar, sentences_of

TEXT = "Return the list.\nIt is  new (2)!"
WORDS = ["Return", "the", "list", ".", "\n", "It", "is", " ", "new", "(", "2", ")", "!"]
TAGS = "VERB DET NOUN PUNCT SPACE PRON AUX SPACE ADJ PUNCT NUM PUNCT PUNCT".split()
HEADS = [0, 2, 0, 0, 0, 6, 6, 6, 6, 6, 6, 6, 6]


def annotation(words: list[str], tags: list[str], heads: list[int], text: str) -> dict:
    starts, at = [], 0
    for word in words:
        at = text.index(word, at) if word else at
        starts.append(at)
        at += len(word)
    return {
        "token_start": starts,
        "token_end": [s + len(w) for s, w in zip(starts, words, strict=True)],
        "pos": tags,
        "head": heads,
    }


ROW = annotation(WORDS, TAGS, HEADS, TEXT)


def test_sentences_hang_on_one_root() -> None:
    assert sentences_of(HEADS) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12]]
    assert sentences_of([]) == []


def test_every_word_has_its_tag_and_marks_have_none() -> None:
    first, second = examples_of_grammar(0.0, TEXT, ROW)
    assert first == (0, {"tokens": ["Return", "the", "list", "."], "labels": ["B-VERB", "B-DET", "B-NOUN", "O"]})
    assert second[1]["tokens"] == ["It", "is", "new", "(", "2", ")", "!"]
    assert second[1]["labels"] == ["B-PRON", "B-AUX", "B-ADJ", "O", "B-NUM", "O", "O"]


def test_hidden_words_are_those_that_are_asked() -> None:
    shown = dict(examples_of_grammar(0.0, TEXT, ROW))
    for number, example in examples_of_grammar(0.5, TEXT, ROW):
        for token, label, word, tag in zip(*example.values(), *shown[number].values(), strict=True):
            assert (token, label) in ((None, tag), (word, "O"))
            assert label != "O" or token is not None
        assert example["tokens"].count(None) == 2


def test_equal_sentences_have_equal_holes() -> None:
    again = annotation(["Hm", *WORDS[:4]], ["INTJ", *TAGS[:4]], [0, 1, 3, 1, 1], "Hm " + TEXT)
    (_, alone), *_ = examples_of_grammar(0.4, TEXT, ROW)
    _, (_, second) = examples_of_grammar(0.4, "Hm " + TEXT, again)
    assert second == alone


def test_a_sentence_without_words_is_no_example() -> None:
    assert examples_of_grammar(0.2, "... !", annotation(["...", "!"], ["PUNCT", "PUNCT"], [0, 0], "... !")) == []


@given(st.lists(st.sampled_from(["NOUN", "VERB", *sorted(UNLABELLED)]), min_size=1, max_size=12), st.floats(0.01, 1))
def test_at_least_one_word_is_hidden_and_never_a_mark(tags: list[str], hidden: float) -> None:
    words = [f"w{n}" for n, _ in zip(count(), tags, strict=False)]
    text = " ".join(words)
    found = examples_of_grammar(hidden, text, annotation(words, tags, [0] * len(tags), text))
    labelled = sum(tag not in UNLABELLED for tag in tags)
    assert len(found) == bool(labelled)
    for _, example in found:
        assert example["tokens"].count(None) == max(1, round(hidden * labelled))
        assert all((token is None) == (label != "O") for token, label in zip(*example.values(), strict=True))
