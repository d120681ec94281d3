"""The outline of a PDF, which readers show beside it: where chapters begin, and which lines are headings, however they are printed."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from privllm.collect.pdf_line import Line

MAX_TITLES = 10_000
MAX_LINES = 4  # of a heading
WORD = re.compile(r"\w+")
NUMBERING = re.compile(r"(?:\w+ )?(?:\d+|[A-Z])(?:\.\d+)*[.:]? ")  # "2.1 ", "Appendix A. "


class Title(NamedTuple):
    """An entry of the outline."""

    level: int  # from 0
    page: int  # from 0
    text: str


def outline_of(document: Any) -> list[Title]:
    """Return the outline, as far as it is not damaged."""
    from pypdfium2 import PdfiumError

    titles = []
    try:
        for entry in islice(document.get_toc(), MAX_TITLES):
            target = entry.get_dest()
            page = target.get_index() if target else None
            if page is not None:
                titles.append(Title(entry.level, page, entry.get_title()))
    except (PdfiumError, UnicodeError):
        pass
    return titles


def chapters_of(outline: Iterable[Title]) -> set[int]:
    """Return the pages that an outline names in its highest level of several."""
    levels: dict[int, set[int]] = {}
    for title in outline:
        levels.setdefault(title.level, set()).add(title.page)
    return next((levels[level] for level in sorted(levels) if len(levels[level]) > 1), set())


def with_marked_titles(pages: list[list[Line]], outline: Iterable[Title]) -> list[list[Line]]:
    """Return pages in which a heading that the outline names on its page is one line, and marked."""
    marked = [list(lines) for lines in pages]
    for title in outline:
        key = _key(title.text)
        if not key or not 0 <= title.page < len(marked):
            continue
        lines = marked[title.page]
        begin, end = _place_of(lines, key)
        if begin < end:
            lines[begin:end] = [_heading(lines[begin:end])]
    return marked


def _heading(lines: list[Line]) -> Line:
    """Return the lines of one heading as a line."""
    text = " ".join(line.text for line in lines)
    right = max(line.right for line in lines)
    return lines[0]._replace(text=text, right=right, bottom=lines[-1].bottom, is_marked=True)


def _place_of(lines: list[Line], key: str) -> tuple[int, int]:
    """Return the first run of lines that say a title; an empty one where none does."""
    for begin in range(len(lines)):
        text = NUMBERING.sub("", lines[begin].text, count=1) if NUMBERING.match(lines[begin].text) else ""
        for first in (lines[begin].text, text):
            said = _key(first)
            end = begin + 1
            while said and said != key and key.startswith(said) and end < min(len(lines), begin + MAX_LINES):
                said += _key(lines[end].text)
                end += 1
            if said == key:
                return begin, end
    return 0, 0


def _key(text: str) -> str:
    return "".join(WORD.findall(text.lower()))
