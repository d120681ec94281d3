"""Blocks of light Markdown: paragraphs, headings, items of lists and tables."""

from collections.abc import Iterable
from typing import NamedTuple

MAX_HEADING_LEVEL = 6
MAX_EMPTY_SHARE = 20  # cells of a table for each that is filled; a table with more is written without its empty cells
FREE_CELLS = 10_000  # of any table


class Block(NamedTuple):
    """A paragraph, a heading, an item or a table."""

    text: str
    is_item: bool = False


def heading(text: str, level: int) -> Block:
    """Return a heading of level 1 and more; it is one line."""
    return Block(f"{'#' * min(max(level, 1), MAX_HEADING_LEVEL)} {one_line(text)}")


def item(text: str, depth: int, number: int = 0) -> Block:
    """Return an item of a list, numbered from 1 or with a bullet; depth counts from 0."""
    mark = f"{number}." if number else "-"
    return Block(f"{'  ' * min(depth, 8)}{mark} {one_line(text)}", is_item=True)


def table(rows: Iterable[list[str]]) -> list[Block]:
    """Return a table as one block, none where all cells are empty. Empty rows and columns are left out."""
    return sparse_table(dict(enumerate(row)) for row in rows)


def sparse_table(rows: Iterable[dict[int, str]]) -> list[Block]:
    """Return `table` of rows of cells by their columns."""
    filled: list[dict[int, str]] = []
    for row in rows:
        lined = {place: one_line(cell).replace("|", "\\|") for place, cell in row.items()}
        cells = {place: cell for place, cell in lined.items() if cell}
        if cells:
            filled.append(cells)
    if not filled:
        return []
    places = sorted(set().union(*filled))
    count = sum(len(cells) for cells in filled)
    if len(filled) * len(places) > MAX_EMPTY_SHARE * count + FREE_CELLS:
        return [Block("\n".join(_row([cells[place] for place in sorted(cells)]) for cells in filled))]
    lines = [_row([cells.get(place, "") for place in places]) for cells in filled]
    lines.insert(1, _row(["---"] * len(places)))
    return [Block("\n".join(lines))]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def joined(blocks: Iterable[Block]) -> str:
    """Return blocks as a text: blank lines between them, none between the items of a list."""
    pieces: list[str] = []
    before = Block("")
    for block in blocks:
        if not block.text.strip():
            continue
        if pieces:
            pieces.append("\n" if before.is_item and block.is_item else "\n\n")
        pieces.append(block.text)
        before = block
    return "".join(pieces)


def one_line(text: str) -> str:
    """Return a text with single spaces and without line ends."""
    return " ".join(text.split())
