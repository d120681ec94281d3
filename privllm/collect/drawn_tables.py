"""Tables that are drawn in plain text with cells over several lines, as text browsers write them: as tables of Markdown.

    +------+------------+              | name | what it is |
    | name | what it is |              | --- | --- |
    +------+------------+     is       | mc | A file manager |
    | mc   | A file     |
    |      | manager    |
    +------+------------+

Read line by line, such a table mixes its cells. One whose rows are a line each is read as it is, and so is what only looks like a table: a
diagram, or a table with cells that span several columns.
"""

import re
from itertools import groupby, pairwise
from unicodedata import east_asian_width

from privllm.collect.markdown_blocks import joined, table

MAX_LINES = 10_000  # of a table
EDGE = re.compile(r"[ \t]*(?:\+[-=+]*[-=][-=+]*\+|[\u250c\u2554][\u2500\u2550\u252c\u2566]+[\u2510\u2557])[ \t\r]*")
RULE = frozenset(
    "+-=|\u2500\u2550\u2502\u2551\u253c\u256c\u251c\u2560\u2524\u2563\u252c\u2566\u2534\u2569\u250c\u2554\u2510\u2557\u2514\u255a\u2518\u255d"
)
CROSS = frozenset("+\u253c\u256c\u252c\u2566\u2534\u2569")
BAR = frozenset("|\u2502\u2551")
DASH = frozenset("-=\u2500\u2550")
WIDE = "\0"  # the second half of a character that is as wide as two


def with_drawn_tables(text: str) -> str:
    """Return a text with its drawn tables as Markdown, if their cells go on over several lines."""
    if "--+" not in text and "\u2500\u2510" not in text and "\u2550\u2557" not in text:
        return text
    lines = text.split("\n")
    kept: list[str] = []
    place = 0
    while place < len(lines):
        end = _end_of_table(lines, place) if EDGE.fullmatch(lines[place]) else place + 1
        markdown = _markdown(lines[place:end])
        kept += [markdown] if markdown else lines[place:end]
        place = end
    return "\n".join(kept)


def _end_of_table(lines: list[str], begin: int) -> int:
    """Return the place after the last rule of what begins with an edge, all of whose lines begin and end at the same places."""
    left, width = len(lines[begin]) - len(lines[begin].lstrip()), len(_spread(lines[begin]))
    end = begin + 1
    for place in range(end, min(len(lines), begin + MAX_LINES)):
        line = _spread(lines[place])
        if len(line) != width or line[:left].strip() or line[left] not in RULE or line[-1] not in RULE:
            break
        if _is_rule(line):
            end = place + 1
    return end


def _markdown(lines: list[str]) -> str:
    """Return the lines of a table as Markdown, "" where they are none whose cells go on over several lines."""
    spread = [_spread(line) for line in lines]
    rules = [line for line in spread if _is_rule(line)]
    bars = sorted({place for rule in rules for place, sign in enumerate(rule.rstrip()) if sign in CROSS})
    left = len(lines[0]) - len(lines[0].lstrip())
    inner = [place for place in bars if left < place < len(spread[0]) - 1]
    if len(rules) < 4 or not inner:
        return ""
    rows: list[list[str]] = []
    is_over_lines = False
    edges = [left, *inner, len(spread[0]) - 1]
    for is_rule, group in groupby(spread, _is_rule):
        own = [] if is_rule else list(group)
        if any(line[place] not in BAR for line in own for place in edges):
            return ""
        is_over_lines = is_over_lines or len(own) > 1
        if own:
            cells = [[line[begin + 1 : end] for line in own] for begin, end in pairwise(edges)]
            rows.append([" ".join(cell).replace(WIDE, "") for cell in cells])
    return joined(table(rows)) if is_over_lines else ""


def _is_rule(line: str) -> bool:
    inner = line.strip()
    return not DASH.isdisjoint(inner) and RULE.issuperset(inner)


def _spread(line: str) -> str:
    """Return a line without its end, in which a character stands where a screen shows it."""
    line = line.rstrip()
    if line.isascii():
        return line
    return "".join(sign + WIDE if east_asian_width(sign) in "WF" else sign for sign in line)
