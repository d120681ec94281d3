"""Text of blocks: as light Markdown (headings, lists, tables, code), or plain.

Light: what stands in the text is never escaped, emphasis and addresses of links are dropped. Structure that
Markdown has no sign for (quotes, definitions, captions) is paragraphs.

    >>> block = Block(0, "h2", "Two", 0)
    >>> write([block], "markdown"), write([block], "text")
    ('## Two', 'Two')
"""

import re

from privllm.clean.page_blocks import HEADINGS, Block

FORMATS = ("markdown", "text")
_FENCE = re.compile(r"^\s*(`{3,})", re.MULTILINE)


def write(blocks: list[Block], layout: str) -> str:
    """Return the text of blocks in order; `layout` is of `FORMATS`."""
    pieces: list[str] = []
    last: Block | None = None
    for block in blocks:
        if last is not None:
            pieces.append("\n" if _belong_together(last, block) else "\n\n")
        if layout == "text":
            pieces.append("\t".join(block.cells) if block.cells else block.text)
        else:
            is_first_row = bool(block.cells) and (last is None or last.table != block.table)
            pieces.append(_in_markdown(block, is_first_row))
        last = block
    return "".join(pieces)


def _belong_together(last: Block, block: Block) -> bool:
    """Return whether no blank line stands between two blocks."""
    if block.cells:
        return last.table == block.table
    if block.marker:
        return bool(last.marker or last.indent)
    return last.kind == "dt" and block.kind in ("dt", "dd")


def _in_markdown(block: Block, is_first_row: bool) -> str:
    indent = " " * block.indent
    if block.cells:
        lines = [_row(block.cells)]
        if is_first_row:
            lines.append(_row(("---",) * len(block.cells)))
    elif block.kind == "pre":
        fence = _fence(block.text)
        lines = [fence, *block.text.split("\n"), fence]
    elif block.kind in HEADINGS and not block.marker:
        lines = [f"{'#' * int(block.kind[1])} {' '.join(block.text.split())}"]
    else:
        lines = block.text.split("\n")
    # The lines after the first stand below the item's text, not below its marker.
    first, *others = lines
    below = indent + " " * len(block.marker)
    return "\n".join([f"{indent}{block.marker}{first}", *(f"{below}{line}" if line else "" for line in others)])


def _row(cells: tuple[str, ...]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _fence(code: str) -> str:
    """Return a fence that no line of the code closes."""
    longest = max((len(found[1]) for found in _FENCE.finditer(code)), default=2)
    return "`" * (longest + 1)
