"""The outline of a PDF: its chapters, and the headings that it names."""

from privllm.collect.pdf_line import Line
from privllm.collect.pdf_outline import MAX_LINES, Title, chapters_of, outline_of, with_marked_titles


class Entry:
    """An entry as pypdfium2 gives it."""

    def __init__(self, level: int, page: int | None, text: str = "") -> None:
        self.level, self.page, self.text = level, page, text

    def get_dest(self) -> "Entry | None":
        return self if self.page is not None else None

    def get_index(self) -> int | None:
        return self.page

    def get_title(self) -> str:
        return self.text


class Outlined:
    """A document with an outline."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = entries

    def get_toc(self) -> tuple[Entry, ...]:
        return self.entries


def page(*texts: str) -> list[Line]:
    return [Line(text, 10.0, 50, 400, 690 - 12 * place, 698 - 12 * place) for place, text in enumerate(texts)]


def headings(titles: list[Title], *pages: list[Line]) -> list[str]:
    return [line.text for lines in with_marked_titles(list(pages), titles) for line in lines if line.is_marked]


def test_chapters_are_those_of_the_highest_level_that_has_several() -> None:
    outline = outline_of(Outlined(Entry(0, 0, "Book"), Entry(1, 3, "One"), Entry(2, 4), Entry(1, 9), Entry(1, None)))
    assert outline[1] == Title(1, 3, "One")
    assert chapters_of(outline) == {3, 9}
    assert chapters_of([]) == set()


def test_a_line_that_the_outline_names_on_its_page_is_a_heading_with_its_number_or_without() -> None:
    pages = [
        page("Boats", "2.1 Piers", "Appendix A. Nets", "Nets are mended."),
        page("boats!", "Piers and more", "Of piers"),
    ]
    titles = [
        Title(0, 1, "Boats"),
        Title(1, 0, "Piers"),
        Title(0, 0, "Nets"),
        Title(0, 1, "Piers"),
        Title(0, 7, "Boats"),
    ]
    assert headings(titles, *pages) == ["2.1 Piers", "Appendix A. Nets", "boats!"]
    assert headings([Title(0, 0, " - "), Title(0, -1, "Boats")], *pages) == []


def test_a_heading_over_several_lines_is_one_line() -> None:
    (lines,) = with_marked_titles([page("2.1 Boats of", "the island", "Text.")], [Title(0, 0, "Boats of the island")])
    assert [(line.text, line.is_marked) for line in lines] == [("2.1 Boats of the island", True), ("Text.", False)]
    assert (lines[0].top, lines[0].bottom) == (698, 678)
    long = [f"word{count}" for count in range(MAX_LINES + 1)]
    assert headings([Title(0, 0, " ".join(long))], page(*long)) == []
