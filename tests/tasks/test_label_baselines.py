"""Baselines of labels: by hand, and TF-IDF as scikit-learn's own pipeline has it."""

import sys

import numpy as np
import pytest

from privllm.core.missing_library import EXTRAS
from privllm.tasks import label_baselines
from privllm.tasks.formats import Classified, Example, Tagged
from privllm.tasks.label_baselines import LIBRARY, NotComputed, majority, tfidf, word_form


def classified(*pairs: tuple[str, str]) -> list[Example]:
    return [Example(line, str(line), str(line), "", Classified(*pair)) for line, pair in enumerate(pairs, 1)]


def tagged(*pairs: tuple[tuple, str]) -> list[Example]:
    contents = [Tagged(tokens, tuple(labels.split())) for tokens, labels in pairs]
    return [Example(line, str(line), str(line), "", content) for line, content in enumerate(contents, 1)]


def test_the_commonest_class_by_hand() -> None:
    train = classified(("a", "x"), ("b", "y"), ("c", "y"))
    assert majority(train, train[:2]) == ["y", "y"]
    assert majority(classified(("a", "y"), ("b", "x")), train) == ["x"] * 3  # a tie


def random_texts(number: int, seed: int) -> list[Example]:
    rng = np.random.default_rng(seed)
    words = np.array("red green blue stone river cloud walks sings sleeps".split())
    pairs = []
    for _ in range(number):
        chosen = rng.choice(words, 4)
        pairs.append((" ".join(chosen), "warm" if "red" in chosen else "cold" if "blue" in chosen else "none"))
    return classified(*pairs)


def test_tfidf_is_scikit_learns_own_pipeline() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    pipeline = pytest.importorskip("sklearn.pipeline")
    train, test = random_texts(200, 0), random_texts(80, 1)
    oracle = pipeline.Pipeline(
        [
            ("tfidf", text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
            ("classifier", linear.LogisticRegression(C=10.0, max_iter=1000)),
        ]
    )
    oracle.fit([example.content.text for example in train], [example.content.label for example in train])
    expected = oracle.predict([example.content.text for example in test]).tolist()
    found = tfidf(train, test)
    assert found == expected == tfidf(train, test)
    assert np.mean([a == example.content.label for a, example in zip(found, test, strict=True)]) > 0.8


def test_without_words_or_without_scikit_learn_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    train = classified(("a", "x"), ("b", "y"))
    if label_baselines.installed(LIBRARY):
        with pytest.raises(NotComputed, match="no text has a word of two letters"):
            tfidf(train, train)
    monkeypatch.setattr(label_baselines, "installed", lambda name: False)
    with pytest.raises(NotComputed, match=r"pip install 'privllm\[baselines\]'"):
        tfidf(train, train)
    assert EXTRAS[LIBRARY] == "baselines"
    assert "sklearn" not in vars(label_baselines)
    assert sys.modules.get("privllm.tasks.label_baselines") is label_baselines


def test_the_commonest_label_of_each_word_by_hand() -> None:
    train = tagged(
        (("Ada", "saw", "Bob"), "B-PER O B-PER"), (("Ada", "Inc"), "B-ORG I-ORG"), (("Ada", "sat"), "B-PER O")
    )
    test = tagged((("Ada", "Inc", "new"), "O O O"))
    assert word_form(train, test) == [["B-PER", "I-ORG", "B-PER"]]  # B-PER is the commonest of all: 3 of 7


def test_a_hidden_word_is_a_form_and_others_are_not_asked() -> None:
    train = tagged(((None, "saw"), "B-NOUN O"), ((None, "saw", None), "B-NOUN O B-VERB"))
    assert word_form(train, tagged((("saw", None), "O B-VERB"))) == [["O", "B-NOUN"]]
