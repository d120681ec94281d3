"""Text of PDFs: order, paragraphs, headings, hyphens, and what pages repeat."""

import pytest

from privllm.collect.parsed import NoText
from privllm.collect.pdf_text import pdf_text
from tests.pdf_files import BOLD, column, pdf_of

LINES = ["The harbour lies on the eastern side of the", "island, where two piers protect the boats", "from the wind."]
PARAGRAPH = " ".join(LINES)


def test_lines_become_a_paragraph_and_large_letters_a_heading() -> None:
    page = [(50, 740, 18, "The harbour"), *column(LINES), *column(["A second one."], top=640)]
    parsed = pdf_text(pdf_of(page, title="On harbours"))
    assert parsed.text == f"# The harbour\n\n{PARAGRAPH}\n\nA second one."
    assert (parsed.title, parsed.date) == ("On harbours", "2026-11-26")


def test_a_bold_line_that_begins_with_a_number_is_a_heading_below_the_larger_ones() -> None:
    page = [(50, 740, 18, "The harbour"), *column([f"{BOLD}5.8.1 Piers"]), *column(LINES, top=680)]
    assert pdf_text(pdf_of(page)).text == f"# The harbour\n\n## 5.8.1 Piers\n\n{PARAGRAPH}"
    for text in ("5.8.1 Piers", f"{BOLD}Piers", f"{BOLD}5 Piers"):
        page = [(50, 740, 18, "The harbour"), *column([text]), *column(LINES, top=640)]
        assert pdf_text(pdf_of(page)).text == f"# The harbour\n\n{text.removeprefix(BOLD)}\n\n{PARAGRAPH}"


def test_the_number_of_a_footnote_that_stands_alone_is_left_out() -> None:
    page = [
        *column(LINES),
        (50, 630, 6, "4"),
        *column(["The note."], top=600, size=9),
        (50, 560, 10, "5"),
        (50, 520, 10, "The end."),
    ]
    assert pdf_text(pdf_of(page, [])).text == f"{PARAGRAPH}\n\nThe note.\n\n5\n\nThe end."


def test_columns_are_read_one_after_the_other() -> None:
    page = [*column(["Left one, which goes", "on here."]), *column(["Right one, which", "goes on too."], x=320)]
    assert pdf_text(pdf_of(page)).text == "Left one, which goes on here.\n\nRight one, which goes on too."


def test_a_word_cut_at_the_end_of_a_line_is_whole() -> None:
    assert pdf_text(pdf_of(column(["The har-", "bour is deep."]))).text == "The harbour is deep."


def test_a_paragraph_goes_on_over_the_page() -> None:
    pages = [column(["It goes on", "over the end"]), column(["of the page."])]
    assert pdf_text(pdf_of(*pages)).text == "It goes on over the end of the page."


def test_what_pages_repeat_and_their_numbers_are_left_out() -> None:
    words = ["one", "two", "three", "four", "five"]
    pages = []
    for number, word in enumerate(words, 1):
        lines = column([f"Body {word} begins and goes", "on for", "some", "more", "lines of", f"text {word}."])
        pages.append([(50, 780, 8, f"Handbook of harbours, chapter {number}"), *lines, (300, 20, 8, str(number))])
    text = pdf_text(pdf_of(*pages)).text
    assert "Handbook" not in text
    assert not any(line.strip().isdigit() for line in text.splitlines())
    assert all(f"text {word}." in text for word in words)


def test_an_exponent_stays_with_its_letter() -> None:
    page = [(50, 700, 10, "the plane R"), (101.3, 704, 6, "2"), (107, 700, 10, "is flat and wide.")]
    assert pdf_text(pdf_of(page)).text == "the plane R2 is flat and wide."


def test_dots_and_pages_of_a_table_of_contents_are_left_out() -> None:
    text = pdf_text(pdf_of(column(["1 Piers . . . . . . . . . . . 7"]))).text
    assert text == "1 Piers"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf_of([]), "needs_ocr"),
        (b"%PDF-1.7\n", "damaged"),
        (b"", "damaged"),
        (pdf_of(column(LINES))[:400], "damaged"),
    ],
)
def test_what_gives_no_text_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(NoText) as refusal:
        pdf_text(data)
    assert refusal.value.reason == reason


def test_equal_bytes_give_equal_text() -> None:
    data = pdf_of(column(LINES))
    assert pdf_text(data) == pdf_text(data)
