"""Personal data of a project's own kinds: the dict PERSONAL_DATA of its extensions, `{KIND: finder}`.

A finder is a compiled pattern, or a function from a text to the (start, end) of each piece that is
personal; a `<KIND>` is put in its place. Own kinds are searched after privllm's, in a text that holds
placeholders already, so they only add to what is removed. Their placeholders are encoded as ordinary text.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from privllm.clean.pii import KINDS
from privllm.engine.extensions import Extensions
from privllm.engine.load_extensions import Entry, entries_of

Span = tuple[int, int]
Finder = re.Pattern[str] | Callable[[str], Iterable[Span]]
KIND = re.compile(r"[A-Z][A-Z0-9_]{1,29}")
PLACEHOLDER = re.compile(r"<[A-Z][A-Z0-9_]{1,29}>")


@cache
def personal_data(extensions: Extensions) -> Mapping[str, Entry]:
    """Return the finders by kind. Raises UserError for one that cannot be used, and for a kind that is taken."""
    finders = entries_of("PERSONAL_DATA", extensions)
    for kind, entry in finders.items():
        entry.require(kind not in KINDS, "is a kind of privllm's own: give yours another name")
        entry.require(KIND.fullmatch(kind) is not None, "must be a name of 2 to 30 capitals, digits and _")
        is_pattern = isinstance(entry.value, re.Pattern) and isinstance(entry.value.pattern, str)
        entry.require(is_pattern or callable(entry.value), "must be re.compile(...) or a function from a text to spans")
        if is_pattern:
            entry.require(entry.value.search("") is None, "matches where there is nothing: it must need a character")
    return finders


def redact_own(finders: Mapping[str, Entry], text: str, counts: Counter[str]) -> str:
    """Return `text` with placeholders of own kinds, which are added to `counts`."""
    for kind, entry in finders.items():
        spans = _outside_placeholders(_spans_in(entry, text), text)
        pieces, done = [], 0
        for start, end in spans:
            pieces += [text[done:start], f"<{kind}>"]
            done = end
        text = "".join([*pieces, text[done:]])
        if spans:
            counts[kind] += len(spans)
    return text


def _spans_in(entry: Entry, text: str) -> list[Span]:
    """Return what a finder finds, ascending. Raises UserError where it returns no spans of the text."""
    if isinstance(entry.value, re.Pattern):
        return [match.span() for match in entry.value.finditer(text) if match.end() > match.start()]
    with entry.blamed("a document"):
        spans = sorted((int(start), int(end)) for start, end in entry.value(text))
    for start, end in spans:
        entry.require(0 <= start < end <= len(text), f"found ({start}, {end}) in a text of {len(text)} characters")
    return spans


def _outside_placeholders(spans: list[Span], text: str) -> list[Span]:
    """Return spans that cut no placeholder in two, ascending and apart.

    One that lies within a placeholder is left out, one that touches a part of it takes all of it.
    """
    placeholders = [match.span() for match in PLACEHOLDER.finditer(text)] if spans else []
    starts, ends = [start for start, _ in placeholders], [end for _, end in placeholders]
    apart: list[Span] = []
    for start, end in spans:
        first = bisect_right(ends, start)  # of the placeholders that the span touches
        last = bisect_left(starts, end) - 1
        if first == last and starts[first] <= start and end <= ends[first]:
            continue
        if first <= last:
            start, end = min(start, starts[first]), max(end, ends[last])
        if apart and start < apart[-1][1]:
            apart[-1] = apart[-1][0], max(end, apart[-1][1])
        else:
            apart.append((start, end))
    return apart
