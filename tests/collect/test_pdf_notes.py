"""Footnotes of PDFs, which follow their chapter."""

from collections.abc import Collection

from privllm.collect.pdf_line import Line
from privllm.collect.pdf_notes import with_notes_at_ends
from privllm.collect.pdf_text import pdf_text
from tests.pdf_files import column, pdf_of

BODY = ["It goes on", "over the end"]
ONE = "The first page says much about harbours."
TWO = "The second page says much about piers."
THREE = "The third page says much about boats."


def page(body: list[str], small: list[str]) -> list[Line]:
    lines = [Line(text, 10.0, 50, 500, 690 - 12 * place, 698 - 12 * place) for place, text in enumerate(body)]
    return lines + [Line(text, 8.0, 50, 500, 90 - 10 * place, 97 - 10 * place) for place, text in enumerate(small)]


def texts(pages: list[list[Line]], chapters: Collection[int] = ()) -> list[str]:
    return [" / ".join(line.text for line in lines) for lines in with_notes_at_ends(pages, chapters) if lines]


def test_a_paragraph_goes_on_over_a_footnote_which_follows_the_text() -> None:
    pages = [[*column(BODY), *column(["1 A note of", "two lines."], top=100, size=8)], column(["of the page."])]
    assert pdf_text(pdf_of(*pages)).text == "It goes on over the end of the page.\n\n1 A note of two lines."


def test_notes_follow_their_chapter() -> None:
    pages = [page([ONE], ["1 First.", "2 Second."]), page([TWO], ["1Third."]), page([THREE], [])]
    assert texts(pages, {0, 1}) == [ONE, "1 First.", "2 Second.", TWO, THREE, "1 Third."]


def test_a_note_goes_on_at_the_foot_of_the_next_page_only() -> None:
    first = page([ONE], ["1 A note that"])
    assert texts([first, page([TWO], ["goes on.", "2 Second."])]) == [
        ONE,
        TWO,
        "1 A note that / goes on.",
        "2 Second.",
    ]
    assert texts([first, page([TWO], []), page([THREE], ["In small print."])]) == [
        ONE,
        TWO,
        f"{THREE} / In small print.",
        "1 A note that",
    ]


def test_small_print_that_is_no_note_stays() -> None:
    for small in (["In small print."], ["40 boats lie here."], ["3.5 metres"], ["90 % of it"]):
        assert texts([page(BODY, small)]) == [" / ".join([*BODY, *small])]
    above = [*page([], ["1 Boats", "2 Piers"])[:2], Line("The end.", 10.0, 50, 500, 40, 48)]
    assert texts([above]) == ["1 Boats / 2 Piers / The end."]
    beside = [*page(BODY, []), Line("1 Boats", 8.0, 320, 500, 690, 698)]
    assert texts([beside]) == [" / ".join([*BODY, "1 Boats"])]


def test_notes_may_be_numbered_on_or_marked_by_signs() -> None:
    pages = [
        page([ONE], ["1 First.", "(continued)"]),
        page([TWO], ["Listing", "2 Second.", "7 of them.", "3 Third."]),
    ]
    assert texts(pages, {0, 1}) == [
        ONE,
        "1 First. / (continued)",
        f"{TWO} / Listing",
        "2 Second. / 7 of them.",
        "3 Third.",
    ]
    assert texts([page([ONE], ["*First.", "** Second."])]) == [ONE, "* First.", "** Second."]
