"""Characters that Word writes by their place in a font."""

import pytest

from privllm.collect.office_text import office_text
from privllm.collect.word_symbols import symbol
from tests.office_files import docx_of


@pytest.mark.parametrize(
    ("font", "code", "character"),
    [
        ("Symbol", "F061", "α"),
        ("Symbol", "F057", "Ω"),
        ("symbol", "B3", "≥"),
        ("Symbol", "F02B", "+"),
        ("Wingdings", "F0FE", "☑"),
        ("Wingdings", "F04A", ""),
        ("Arial", "20AC", "€"),
        ("Webdings", "F061", ""),
        ("Arial", "D800", ""),
        ("Arial", "110000", ""),
        ("Arial", "", ""),
        ("", "-1", ""),
    ],
)
def test_a_place_in_a_font_is_a_character(font: str, code: str, character: str) -> None:
    assert symbol(font, code) == character


def test_symbols_stand_in_the_text_of_a_document() -> None:
    run = '<w:p><w:r><w:t>5 </w:t><w:sym w:font="Symbol" w:char="F0B1"/><w:t> 1</w:t></w:r></w:p>'
    assert office_text(docx_of(run)).text == "5 ± 1"
