"""Running headers, footers and page numbers of PDFs."""

from privllm.collect.pdf_line import Line
from privllm.collect.pdf_margins import without_margins


def line(text: str, top: float, size: float = 10.0) -> Line:
    return Line(text, size, 50, 500, top - 8, top)


def page(*texts: str) -> list[Line]:
    return [line(text, 700 - 12 * place) for place, text in enumerate(texts)]


def texts(pages: list[list[Line]]) -> list[str]:
    return [line.text for lines in without_margins(pages) for line in lines]


BODY = ["Body begins", "and goes on", "for some", "more lines", "of a text", "that ends."]
FOOTERS = ["7 Chapter 1. Piers", "1.2. Boats 8", "9 Chapter 2. Wind", "2.3. Waves 10"]


def test_a_line_with_the_number_of_its_page_is_left_out_though_no_other_page_repeats_it() -> None:
    bodies = [[f"{letter}: {text}" for text in BODY] for letter in "abcd"]
    pages = [page(*body, footer) for body, footer in zip(bodies, FOOTERS, strict=True)]
    assert texts(pages) == [text for body in bodies for text in body]


def test_a_line_with_another_number_stays() -> None:
    footers = [
        "7 Chapter 1. Piers",
        "1.2. Boats 8",
        "9 Chapter 2. Wind",
        "Seen in 1999",
        "11 Chapter 3. Nets",
        "It is 12.12",
    ]
    pages = [page(*BODY, footer) for footer in footers]
    assert [text for text in texts(pages) if text not in BODY] == ["Seen in 1999", "It is 12.12"]


def test_titles_that_are_numbered_in_turn_stay() -> None:
    for titles in (
        ["1 Piers", "2 Boats", "3 Wind", "4 Waves"],
        [f"2.{count} Version 4.{count}" for count in range(9, 5, -1)],
    ):
        pages = [[line(title, 740, 18.0), *page(*BODY)] for title in titles]
        assert [text for text in texts(pages) if text not in BODY] == titles
    assert "Harbours" not in texts([[line("Harbours", 740, 18.0), *page(*BODY)] for _ in range(4)])


def test_numbers_of_few_pages_are_none_of_pages() -> None:
    pages = [page(*BODY, last) for last in (*FOOTERS[:3], *["It ends.", "So it does.", "Again.", "And on."])]
    assert set(FOOTERS[:3]) < set(texts(pages))


def test_pages_of_few_lines_that_differ_by_numbers_keep_them() -> None:
    pages = [page("The Harbour", f"Berth {number} of pier {number + 3}", f"- {number} -") for number in range(1, 6)]
    assert texts(pages) == [f"Berth {number} of pier {number + 3}" for number in range(1, 6)]


def test_rows_of_numbers_stay() -> None:
    rows = [[f"{number} {place} {number * place}.5" for place in range(10)] for number in range(11, 15)]
    pages = [page("The Harbour", *numbers, f"{place + 1}", "Printed 2026") for place, numbers in enumerate(rows)]
    assert texts(pages) == [row for numbers in rows for row in numbers]
