"""Sections of long documents: the units that later stages split, compare and store.

A cut falls before a heading where there is one, else before a paragraph, and inside a paragraph only where that
alone is longer than a section. Of places of one rank those are taken first whose text has the smallest hash, each
far enough from those taken before. So where a document is cut depends on the text nearby, not on what
precedes it: an edit changes the section that it is in, and seldom a neighbour. (Cut points chosen by content are
Muthitacharoen, Chen and Mazieres, "A low-bandwidth network file system", 2001.)

A section's name is that of its headings. Where these do not tell it from another section, and where it begins
without a heading, the first words of its text count too. Cut texts are not rewritten, and no heading is repeated.
"""

import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from privllm.clean.quality import has_spaced_words_only, words_of
from privllm.core.records import section_source
from privllm.core.seed import name_digest, seed_of

UNCUT = 2  # times as many words as a section should have are left in one piece
LEAST_SHARE = 0.75  # of the wished number of words: no section has fewer, so most have between this and twice as much
FIRST_WORDS = 12  # that name a section which its headings do not
PARAGRAPH, LINE, SENTENCE, CHUNK = 7, 8, 9, 10  # ranks of places; those of headings are their levels, 1 to 6
CHUNK_CHARACTERS = 1_000  # of a text without lines and sentences

HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
UNDERLINED = re.compile(r"(\S[^\n]*)\n(={3,}|-{3,})[ \t]*(?:\n|\Z)")
FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
SENTENCES = re.compile(r".+?(?:[.!?]\s+|[。！？]|\Z)", re.DOTALL)
CHUNKS = re.compile(rf".{{1,{CHUNK_CHARACTERS}}}(?:\s+|\Z)|.{{{CHUNK_CHARACTERS}}}", re.DOTALL)
PARTS = {LINE: re.compile(r"[^\n]*\n|[^\n]+"), SENTENCE: SENTENCES, CHUNK: CHUNKS}
Path = tuple[str, ...]  # the headings above a text, the outermost first
Count = Callable[[str], int]


class Section(NamedTuple):
    """A part of a document."""

    source: str  # of the document, and "#s:" with 16 hexadecimal digits behind it
    text: str


class Block(NamedTuple):
    """Text between two places where a document may be cut."""

    text: str
    rank: int  # of the place before it, the smaller the better
    words: int
    headings: Path


def cut(source: str, text: str, section_words: int) -> list[Section]:
    """Return the sections of a clean text of about `section_words` words each, in their order.

    The result is empty where the text is short enough to stay whole, where no place to cut it is found, and where
    `section_words` is 0.
    """
    most_words = UNCUT * section_words
    if not section_words or len(text) <= most_words:
        return []
    count = _counter_for(text)
    if count(text) <= most_words:
        return []
    blocks = list(_blocks(text, int(LEAST_SHARE * section_words), count))
    places = _places(blocks, int(LEAST_SHARE * section_words))
    if not places:
        return []
    texts: list[str] = []
    headings: list[Path] = []
    for begin, end in pairwise([0, *places, len(blocks)]):
        texts.append("".join(block.text for block in blocks[begin:end]).strip("\n").rstrip())
        headings.append(blocks[begin].headings if begin == 0 or blocks[begin].rank < PARAGRAPH else ())
    above = [blocks[begin].headings for begin in (0, *places)]
    names = _names(texts, headings, above)
    return [Section(section_source(source, name), part) for name, part in zip(names, texts, strict=True)]


def _counter_for(text: str) -> Count:
    """Return what counts the words of a text and of its parts."""
    if has_spaced_words_only(text):
        return lambda part: len(part.split())
    return lambda part: len(words_of(part)[0])


def _names(texts: list[str], headings: list[Path], above: list[Path]) -> list[str]:
    """Return a name for each section, all different.

    headings: those that a section begins with, empty where it begins between them; above: those that it lies below.
    """
    often = Counter(headings)
    seen: Counter[Path] = Counter()
    names = []
    for place, text in enumerate(texts):
        words: Path = ()
        is_first = place == 0 and not headings[0]
        if not is_first and (not headings[place] or often[headings[place]] > 1):
            words = tuple(text.split(None, FIRST_WORDS)[:FIRST_WORDS])
        key = (*above[place], "", *words)
        names.append(name_digest("section", is_first, seen[key], *key))
        seen[key] += 1
    return names


def _places(blocks: list[Block], least: int) -> list[int]:
    """Return the indices of the blocks that begin a section, ascending; at least `least` words lie between two."""
    begins = [0]
    for block in blocks:
        begins.append(begins[-1] + block.words)
    chosen = [0, begins[-1]]  # words before each place that is taken, and the ends of the text

    def is_far(index: int) -> bool:
        position = bisect_left(chosen, begins[index])
        before, after = chosen[position - 1], chosen[min(position, len(chosen) - 1)]
        return begins[index] - before >= least and after - begins[index] >= least

    by_rank: dict[int, list[int]] = {}
    for index, block in enumerate(blocks[1:], start=1):
        by_rank.setdefault(block.rank, []).append(index)
    places = []
    for _, candidates in sorted(by_rank.items()):
        # What is too near to a place stays so, and needs no hash.
        far_enough = [(seed_of("cut", blocks[index].text.strip()), index) for index in candidates if is_far(index)]
        for _, index in sorted(far_enough):
            if is_far(index):
                insort(chosen, begins[index])
                places.append(index)
    return sorted(places)


def _blocks(text: str, longest: int, count: Count) -> Iterator[Block]:
    """Yield the text block by block: paragraphs, and parts of those with more than `longest` words."""
    headings: dict[int, str] = {}
    path: Path = ()
    for piece, heading in _pieces(text):
        rank = PARAGRAPH
        if heading:
            rank, title = heading
            headings = {level: name for level, name in headings.items() if level < rank} | {rank: title}
            path = tuple(headings.values())
        for part, part_rank, words in _parts(piece, rank, PARAGRAPH, longest, count):
            yield Block(part, part_rank, words, path)


def _pieces(text: str) -> Iterator[tuple[str, tuple[int, str] | None]]:
    """Yield each paragraph with the blank lines behind it, and (level, title) of the heading that it begins with.

    A line with a heading's marks begins a paragraph; what stands between two fences is part of one.
    """
    lines: list[str] = []
    fence, is_code = "", False  # marks of the fence that is open, and whether the paragraph begins with one
    follows_blank = False
    for line in text.split("\n"):
        is_blank = not line or line.isspace()
        if lines and not fence:
            is_heading = line.startswith("#") and HEADING.match(line) is not None
            if is_heading or (follows_blank and not is_blank):
                yield _piece(lines, is_code)
                lines = []
        marks = FENCE.match(line) if "```" in line or "~~~" in line else None
        is_code = bool(marks) if not lines else is_code
        if marks and not fence:
            fence = marks[1]
        elif marks and marks[1].startswith(fence):
            fence = ""
        lines.append(line)
        follows_blank = is_blank
    yield _piece(lines, is_code, end="")


def _piece(lines: list[str], is_code: bool, end: str = "\n") -> tuple[str, tuple[int, str] | None]:
    paragraph = "\n".join(lines) + end
    return paragraph, None if is_code else _heading(paragraph)


def _heading(paragraph: str) -> tuple[int, str] | None:
    """Return level and title of the heading that a paragraph begins with."""
    if marked := HEADING.match(paragraph):
        return len(marked[1]), marked[2].strip()
    if underlined := UNDERLINED.match(paragraph):
        return 1 if underlined[2].startswith("=") else 2, underlined[1].strip()
    return None


def _parts(piece: str, rank: int, kind: int, longest: int, count: Count) -> Iterator[tuple[str, int, int]]:
    """Yield a piece of some kind, or the lines, sentences or chunks of one that is too long, each with its rank and words."""
    words = count(piece)
    if kind == CHUNK or words <= longest:
        yield piece, rank, words
        return
    finer = kind + 1
    for number, part in enumerate(PARTS[finer].findall(piece)):
        yield from _parts(part, finer if number else rank, finer, longest, count)
