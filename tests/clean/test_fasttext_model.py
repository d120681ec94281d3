"""Our reader of a fastText model beside fastText itself, on texts of many languages and on noise."""

import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from privllm.clean import fasttext_model
from privllm.clean.fasttext_model import Classifier
from privllm.clean.language import model_path

fasttext = pytest.importorskip("fasttext", reason="fasttext-predict has no release for this Python")

WORDS = ("</s>", "__label__en", "__label__", "the", "der", "<", ">", "\0", "\v", "\u3000", "é", "漢字", "🙂", "")
TOLERANCE = 1e-6


@cache
def ours() -> Classifier:
    return Classifier(model_path().read_bytes())


@cache
def theirs() -> Any:
    return fasttext.load_model(str(model_path()))


def require_equal(text: str) -> None:
    labels, scores = theirs().predict(text, k=1)
    label, score = ours().predict(text)
    assert label == (labels[0] if labels else "")
    assert score == pytest.approx(float(scores[0]) if labels else 0.0, abs=TOLERANCE)


def sentences() -> list[str]:
    """What spaCy has as examples of some seventy languages."""
    spacy = find_spec("spacy")
    assert spacy
    assert spacy.origin
    return [path.read_text("utf-8") for path in sorted(Path(spacy.origin).parent.glob("lang/*/examples.py"))]


def test_texts_of_many_languages() -> None:
    labels = set()
    for text in sentences():
        flat = " ".join(text.split())
        for start in range(0, len(flat), 200):
            require_equal(flat[start : start + 1000])
            labels.add(ours().predict(flat[start : start + 1000])[0])
    assert len(labels) > 40


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=300))
@example("")
@example("a")
@example("before </s> der Hund schläft im Schatten")
def test_any_text(text: str) -> None:
    require_equal(text)


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_words_that_fasttext_treats_in_its_own_way(words: list[str]) -> None:
    require_equal(" ".join(words))


def test_texts_together_come_out_as_each_by_itself() -> None:
    texts = ["", *sentences()[:20], "</s>", "a"]
    assert ours().predict_each(texts) == [ours().predict(text) for text in texts]
    assert ours().predict_each([]) == []


def test_what_is_remembered_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sentences()[:20]
    expected = [ours().predict(text) for text in texts]
    monkeypatch.setattr(fasttext_model, "MAX_REMEMBERED_WORDS", 5)
    forgetful = Classifier(model_path().read_bytes())
    assert [forgetful.predict(text) for text in texts] == expected
    assert len(forgetful.rows_of_word) <= max(len(set(text.split(" "))) for text in texts)


def patched(place: int, form: str, value: int) -> bytes:
    """The model's file with another value in its header."""
    content = bytearray(model_path().read_bytes())
    struct.pack_into(form, content, place, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (0, 1, "no fastText model of format 12"),
        (4, 11, "no fastText model of format 12"),
        (8 + 4 * 5, 2, "without word n-grams"),
        (8 + 4 * 6, 3, "hierarchical softmax"),
        (8 + 4 * 7, 1, "classifier"),
        (8 + 4 * 9, 1, "two characters"),
    ],
)
def test_another_kind_of_model_is_refused(place: int, value: int, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Classifier(patched(place, "<i", value))
