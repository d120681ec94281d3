"""What the pages of a PDF hold beside their text: running headers, footers and page numbers.

A line is one where many pages repeat it, where it is a number alone, or where it begins or ends with the page's number, as
"24 Chapter 4. Files" does, which few pages repeat.
"""

import re
from collections import Counter

from privllm.collect.pdf_line import Line, body_size

MARGIN_LINES = 3  # at the top, and at the bottom, that may be a running header or footer
REPEATED = 3  # pages that repeat such a line
NUMBERED_SHARE = 0.5  # of the pages, that are numbered alike where pages have numbers
TITLE_RATIO = 1.12  # to the size of most letters, from which a line is a title
NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
AT_AN_END = re.compile(r"^(\d{1,5})(?![\d.,])|(?<![\d.,])(\d{1,5})$")
PAGE_NUMBER = re.compile(
    r"(?:page |seite |p\. ?|- ?|\[)?(?:\d{1,5}|[ivxlc]{1,8})(?: ?-|\]| ?(?:/|of|von) ?\d{1,5})?", re.IGNORECASE
)


def without_margins(pages: list[list[Line]]) -> list[list[Line]]:
    """Return pages without running headers and footers and without page numbers."""
    counts: Counter[str] = Counter()
    texts = Counter(text for lines in pages for text in {line.text for line in lines})
    title = TITLE_RATIO * body_size(pages)
    for lines in pages:
        counts.update({_pattern(lines[place], title) for place in _margins(lines)})
    least = max(REPEATED, len(pages) // 20)
    numbered = _numbered(pages, title)
    kept = []
    for lines, own in zip(pages, numbered, strict=True):
        dropped, alike = set(own), set[int]()
        for place in _margins(lines):
            text = lines[place].text
            is_edge = place in (0, len(lines) - 1)
            if counts[_pattern(lines[place], title)] >= least or (
                is_edge and len(pages) > 1 and PAGE_NUMBER.fullmatch(text)
            ):
                dropped.add(place)
                if texts[text] < least and not PAGE_NUMBER.fullmatch(text):
                    alike.add(place)
        if len(dropped) == len(lines):  # a page of few lines, as a ticket, is like others but for its numbers
            dropped -= alike - own
        kept.append([line for place, line in enumerate(lines) if place not in dropped])
    return kept if any(kept) else pages


def _numbered(pages: list[list[Line]], title: float) -> list[set[int]]:
    """Return of each page its first and its last line by height where these hold the number of the page.

    Numbers are those of pages where most pages have one that is as far from their count.
    """
    found: list[dict[int, set[int]]] = []
    counts: Counter[int] = Counter()
    for count, lines in enumerate(pages):
        distances: dict[int, set[int]] = {}
        for place in _edges(lines):
            if lines[place].size < title:
                for first, last in AT_AN_END.findall(lines[place].text):
                    distances.setdefault(int(first or last) - count, set()).add(place)
        found.append(distances)
        counts.update(distances.keys())
    distance, most = max(counts.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
    if most < max(REPEATED, NUMBERED_SHARE * len(pages)):
        return [set() for _ in pages]
    return [distances.get(distance, set()) for distances in found]


def _edges(lines: list[Line]) -> set[int]:
    """Return the places of the lowest and of the highest line."""
    margins = _margins(lines)
    return {margins[0], margins[-1]} if len(lines) > 1 else set()


def _margins(lines: list[Line]) -> list[int]:
    """Return the places of the lines at the top and at the bottom of a page, by height."""
    by_height = sorted(range(len(lines)), key=lambda place: lines[place].top)
    if len(by_height) <= 2 * MARGIN_LINES:
        return by_height
    return by_height[:MARGIN_LINES] + by_height[-MARGIN_LINES:]


def _pattern(line: Line, title: float) -> str:
    """Return a line as what it has in common with that of other pages.

    Numbers tell titles apart, such as "2.1 Version 3", and rows of tables that hold nothing else.
    """
    text = line.text.lower()
    pattern = NUMBER.sub("#", text)
    is_of_numbers = not any(map(str.isalpha, pattern)) and not PAGE_NUMBER.fullmatch(text)
    return text if line.size >= title or is_of_numbers else pattern
