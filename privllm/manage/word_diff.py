"""Difference of two texts word by word, for people: what stays, what is gone and what is new.

Words, tags, placeholders and single marks are compared; white space is equal to any other white space. Of a page's
markup an entity equals its character. Nothing is moved: text in another place is gone here and new there.
"""

import html
import re
from bisect import bisect_left
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

MOST_WORDS = 500_000  # of either text that are compared, white space included
RUN = 4  # words that an anchor needs
WORD = re.compile(r"<!--.*?-->|<(?:script|style)\b.*?</(?:script|style)>|</?[A-Za-z][^<>]*>|&\w+;|\w+|\s+|.", re.DOTALL)
PLACEHOLDER = re.compile(r"<[A-Z][A-Z0-9_]{1,29}>")


class Segment(NamedTuple):
    """A stretch of text."""

    kind: Literal["same", "gone", "new"]
    text: str


class Replaced(NamedTuple):
    """Personal data and the placeholders that stand for them."""

    before: str
    after: str


def word_diff(before: str, after: str) -> list[Segment]:
    """Return the segments of which those that are not new make `before`, and those not gone `after`.

    White space is that of `after`. What lies beyond `MOST_WORDS` is left out.
    """
    left, right = (WORD.findall(text)[:MOST_WORDS] for text in (before, after))
    left_keys, right_keys = ([_key(word) for word in words] for words in (left, right))
    parts: list[Segment] = []
    left_end, right_end = 0, 0
    for left_anchor, right_anchor in [*_anchors(left_keys, right_keys), (len(left), len(right))]:
        matcher = SequenceMatcher(None, left_keys[left_end:left_anchor], right_keys[right_end:right_anchor])
        for tag, from_left, to_left, from_right, to_right in matcher.get_opcodes():
            if tag == "equal":
                parts.append(Segment("same", "".join(right[right_end + from_right : right_end + to_right])))
            else:
                parts.append(Segment("gone", "".join(left[left_end + from_left : left_end + to_left])))
                parts.append(Segment("new", "".join(right[right_end + from_right : right_end + to_right])))
        left_end, right_end = left_anchor, right_anchor
    return _joined(parts)


def _anchors(left: list[str], right: list[str]) -> list[tuple[int, int]]:
    """Return places of the same word in both texts, ascending: where `RUN` words begin that each text has once.

    Of those that cross each other the longest ascending chain is taken, as in patience diff (Bram Cohen).
    """
    left_runs, right_runs = _runs(left), _runs(right)
    pairs = sorted((place, right_runs[run]) for run, place in left_runs.items() if run in right_runs)
    ends: list[int] = []  # the smallest end of a chain of each length
    end_pairs: list[int] = []  # the pair at that end
    previous: list[int] = []
    for index, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        previous.append(end_pairs[length - 1] if length else -1)
        ends[length : length + 1] = [place]
        end_pairs[length : length + 1] = [index]
    chain = []
    index = end_pairs[-1] if end_pairs else -1
    while index >= 0:
        chain.append(pairs[index])
        index = previous[index]
    return chain[::-1]


def _runs(keys: list[str]) -> dict[tuple[str, ...], int]:
    """Return the place of each run of `RUN` words that occurs once; what is no word does not count."""
    places = [place for place, key in enumerate(keys) if key[0].isalnum()]
    found: dict[tuple[str, ...], int] = {}
    repeated = set()
    for start in range(len(places) - RUN + 1):
        run = tuple(keys[place] for place in places[start : start + RUN])
        if run in found:
            repeated.add(run)
        found[run] = places[start]
    return {run: place for run, place in found.items() if run not in repeated}


def _joined(parts: list[Segment]) -> list[Segment]:
    """Return the parts without empty ones, neighbours of one kind as one."""
    segments: list[Segment] = []
    for part in parts:
        if segments and segments[-1].kind == part.kind:
            segments[-1] = Segment(part.kind, segments[-1].text + part.text)
        elif part.text:
            segments.append(part)
    return segments


def _key(word: str) -> str:
    """Return what a word is compared by."""
    if word.isspace():
        return " "
    return html.unescape(word) if word.startswith("&") else word


def part_of(before: str, after: str, margin: int = 1) -> str:
    """Return the part of `before` that `after`, a section of it, was made of; all of it where that is not found.

    margin: how many words of `before` to take for each of `after` that lies outside the first and last anchor.
    """
    left, right = WORD.findall(before), WORD.findall(after)
    anchors = _anchors([_key(word) for word in left], [_key(word) for word in right])
    if not anchors:
        return before
    (first_left, first_right), (last_left, last_right) = anchors[0], anchors[-1]
    begin = max(0, first_left - margin * first_right)
    return "".join(left[begin : last_left + margin * (len(right) - last_right)])


def without_ends(segments: list[Segment]) -> list[Segment]:
    """Return the segments without what is gone before the first and behind the last that is not."""
    kept = [place for place, segment in enumerate(segments) if segment.kind != "gone" and segment.text.strip()]
    return segments[kept[0] : kept[-1] + 1] if kept else []


def replaced(segments: list[Segment]) -> list[Replaced]:
    """Return what stood where the later text has placeholders."""
    found = []
    for before, after in zip([Segment("same", ""), *segments], segments, strict=False):
        placeholders = PLACEHOLDER.findall(after.text) if after.kind == "new" else []
        if placeholders:
            gone = before.text.strip() if before.kind == "gone" else ""
            found.append(Replaced(gone, " ".join(placeholders)))
    return found
