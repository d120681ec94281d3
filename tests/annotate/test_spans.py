"""Spans that fit their text, whatever it is, and that depend on nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.annotate.spans import annotate_text, head_of, load
from privllm.core.errors import UserError
from privllm.nlp.packaged_model import NAME as MODEL
from privllm.nlp.packaged_model import packaged_folder

SENTENCE = "Ada Lovelace wrote to Charles Babbage in London. "


@pytest.mark.slow
def test_a_plain_sentence() -> None:
    spans = annotate_text(MODEL, SENTENCE.strip())
    words = [SENTENCE[start:end] for start, end in zip(spans["token_start"], spans["token_end"], strict=True)]
    assert words == ["Ada", "Lovelace", "wrote", "to", "Charles", "Babbage", "in", "London", "."]
    assert spans["pos"] == ["PROPN", "PROPN", "VERB", "ADP", "PROPN", "PROPN", "ADP", "PROPN", "PUNCT"]
    assert spans["head"][:4] == [1, 2, 2, 2]
    assert spans["dep"][1:3] == ["nsubj", "ROOT"]
    entities = {
        SENTENCE[start:end]: label
        for start, end, label in zip(spans["entity_start"], spans["entity_end"], spans["entity_label"], strict=True)
    }
    assert entities == {"Ada Lovelace": "PERSON", "Charles Babbage": "PERSON", "London": "GPE"}


def test_offsets_are_code_points() -> None:
    text = "😀 Émile met 李明 in Zürich."
    spans = annotate_text(MODEL, text)
    words = [text[start:end] for start, end in zip(spans["token_start"], spans["token_end"], strict=True)]
    assert words == ["😀", "Émile", "met", "李明", "in", "Zürich", "."]


@settings(max_examples=25)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
def test_any_text_is_covered_but_for_single_spaces(text: str) -> None:
    spans = annotate_text(MODEL, text)
    assert len({len(spans[key]) for key in ("token_start", "token_end", "pos", "dep", "head")}) == 1
    assert all(0 <= head < len(spans["pos"]) for head in spans["head"])
    place = 0
    for start, end in zip(spans["token_start"], spans["token_end"], strict=True):
        assert text[place:start] in ("", " ")
        assert start < end
        place = end
    assert text[place:] in ("", " ")
    assert all(tag for tag in spans["pos"])


def test_company_does_not_matter() -> None:
    texts = [SENTENCE * n + f"The number {n} is odd, they said." for n in range(1, 6)]
    forwards = [annotate_text(MODEL, text) for text in texts]
    assert [annotate_text(MODEL, text) for text in reversed(texts)] == forwards[::-1]


@pytest.mark.slow
def test_process_and_threads_do_not_matter() -> None:
    code = f"from privllm.annotate.spans import annotate_text; print(annotate_text({MODEL!r}, {SENTENCE * 20!r}))"
    environment = {**os.environ, "PYTHONHASHSEED": "4", "OMP_NUM_THREADS": "3", "BLIS_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == str(annotate_text(MODEL, SENTENCE * 20))


@given(st.text("ab \n", max_size=40), st.integers(1, 30))
def test_head_is_a_prefix_cut_at_white_space(text: str, characters: int) -> None:
    head = head_of(text, characters)
    assert text.startswith(head)
    assert len(head) <= characters
    if len(text) <= characters:
        assert head == text
    elif len(text[: characters + 1].split()) > 1:
        assert text[len(head)].isspace()
        assert text[: characters + 1].split()[: len(head.split())] == head.split()


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("one two three", "one two"),
        ("one tw three", "one tw"),
        ("onetwothree", "onetwot"),
        ("one two", "one two"),
        ("one two\nx", "one two"),
    ],
)
def test_heads(text: str, head: str) -> None:
    assert head_of(text, 7) == head


@pytest.mark.parametrize("missing", ["spacy", MODEL])
def test_what_is_not_installed_is_explained(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        UserError, match=rf"`{missing}` is not installed.*pip install 'privllm\[annotate\]'.*annotate\.limit: 0"
    ):
        load(MODEL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attribute", "words"), [("parser", "no dependencies"), ("ner", "no entities"), ("tagger", "no parts of speech")]
)
def test_a_pipeline_that_lacks_what_is_written_is_refused(attribute: str, words: str, tmp_path: Path) -> None:
    import spacy

    folder = packaged_folder()
    assert folder
    exclude = [attribute, "attribute_ruler"] if attribute == "tagger" else [attribute]
    spacy.load(folder, exclude=exclude).to_disk(tmp_path / "partial")
    with pytest.raises(UserError, match=words):
        load(str(tmp_path / "partial"))


def test_a_folder_that_spacy_cannot_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.cfg").write_text("[nlp]\nlang = 'en'\npipeline = ['no_such_part']\n")
    (tmp_path / "meta.json").write_text('{"lang": "en"}')
    with pytest.raises(UserError, match=f"spaCy cannot load {tmp_path}"):
        load(str(tmp_path))
