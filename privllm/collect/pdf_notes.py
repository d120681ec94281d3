"""Footnotes of a PDF: taken from the foot of the pages, where they cut sentences apart, to the end of their chapter.

A footnote is a line in small print that begins with its number or sign, with the lines after it, below all other lines. Chapters
begin where the outline of the document says so; one without an outline is one chapter.
"""

import re
from collections.abc import Collection

from privllm.collect.pdf_line import SMALL, Line, body_size

SKIPPED = 5  # numbers from a note to the next that is found
MARK = re.compile(r"(?:(\d{1,3})(?![\d.,%)])|[*\u2020\u2021\u00a7]{1,3})")
SENTENCE_END = (".", "!", "?", ")", "\u3002", '"', "\u201d")


def with_notes_at_ends(pages: list[list[Line]], chapters: Collection[int]) -> list[list[Line]]:
    """Return the pages, and each note as one after the last page of its chapter.

    chapters: the pages, from 0, that begin one.
    """
    small = SMALL * body_size(pages)
    placed: list[list[Line]] = []
    notes: list[list[Line]] = []
    page_notes: list[list[Line]] = []  # of the page before
    last = 0  # number of a note
    for count, lines in enumerate(pages):
        if count in chapters:
            placed += notes
            notes, page_notes = [], []
        begin = _begin_of_small(lines, small)
        if page_notes and _is_unfinished(page_notes[-1]):
            end = _end_of_rest(lines, begin)
            notes[-1] += lines[begin:end]
            lines = lines[:begin] + lines[end:]
        first = _first_note(lines, begin, last)
        page_notes = _notes(lines[first:])
        last = _last_number(page_notes) or last
        notes += page_notes
        placed.append(lines[:first])
    return placed + notes


def _begin_of_small(lines: list[Line], small: float) -> int:
    """Return the place from which on all lines of a page are in small print and below those before."""
    begin = len(lines)
    while begin and lines[begin - 1].size < small:
        begin -= 1
    lowest = min((line.bottom for line in lines[:begin]), default=0.0)
    is_below = all(line.top <= lowest + line.size for line in lines[begin:])
    return begin if begin and is_below else len(lines)


def _first_note(lines: list[Line], begin: int, last: int) -> int:
    """Return the place of the first line, from `begin`, that is a note's: numbers go on from `last` or begin anew."""
    for place in range(begin, len(lines)):
        number = _number_of(lines[place])
        if number is not None and (number <= 1 or last < number <= last + SKIPPED):
            return place
    return len(lines)


def _notes(lines: list[Line]) -> list[list[Line]]:
    """Return the lines of each note; a number within a note that is not the next is none of another."""
    notes: list[list[Line]] = []
    for line in lines:
        number = _number_of(line)
        if not notes or number == 0 or number == _last_number(notes) + 1:
            notes.append([_spaced(line)])
        else:
            notes[-1].append(line)
    return notes


def _spaced(line: Line) -> Line:
    """Return the first line of a note with a space after its mark, which stands close to it where it is raised."""
    mark = MARK.match(line.text)
    end = mark.end() if mark else 0
    return line._replace(text=f"{line.text[:end]} {line.text[end:].lstrip()}".strip())


def _is_unfinished(note: list[Line]) -> bool:
    return not note[-1].text.endswith(SENTENCE_END)


def _end_of_rest(lines: list[Line], begin: int) -> int:
    """Return the place of the first note of a page, after the rest of one that began on the page before."""
    marked = (place for place in range(begin, len(lines)) if _number_of(lines[place]) is not None)
    return next(marked, len(lines))


def _last_number(notes: list[list[Line]]) -> int:
    numbers = (_number_of(note[0]) for note in reversed(notes))
    return next((number for number in numbers if number), 0)


def _number_of(line: Line) -> int | None:
    """Return the number of the note that a line begins, 0 for a sign, None where it begins none."""
    mark = MARK.match(line.text)
    if mark is None:
        return None
    return int(mark[1]) if mark[1] else 0
