r"""Blocks of an HTML page: text between two tags that break a line, with its place in the tree.

lexbor repairs the page and writes it out again (Resiliparse, Bevendorff et al. 2018). What it writes is
well formed, so one pattern reads it, in time that is linear in its length, and nothing recurses. What no
reader sees as text is left out: scripts, styles, comments, drawings, frames, controls of forms. What is
main content is for `main_content` to say.

    >>> [block.text for block in read_blocks("<body><p>Two <b>words</b></p><p>One</p></body>").blocks]
    ['Two words', 'One']
"""

import html
import re
from dataclasses import dataclass, field

MAX_INDENT = 12  # characters; lists nested deeper stay there, or nesting would multiply a page's size
MAX_CELL = 500  # characters; a table with a longer cell is a layout, not data

BLOCK_ELEMENTS = frozenset(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav noscript ol optgroup p pre search section summary table "
    "tbody td tfoot th thead tr ul".split()
)
LEFT_OUT = frozenset("svg template object canvas video audio select textarea map datalist button head".split())
HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
SPECIAL = LEFT_OUT | {"a", "br", "hr"}
LINE_BREAK = "\0"  # of <br>; HTML has no such character
CELLS = frozenset(("td", "th"))
PERMALINKS = frozenset(
    ("¶", "#", "§", "🔗", "⚓")
)  # text of the link with which a heading or a paragraph points to itself
LISTS = frozenset(("ul", "ol", "menu", "dir"))
# What a block is, where the element itself says it, and what the elements in it inherit.
OWN_KINDS = HEADINGS | CELLS | frozenset("p li dt dd pre blockquote figcaption caption summary address".split())
INHERITED_KINDS = HEADINGS | CELLS | frozenset("li dt dd pre figcaption caption summary".split())
NAMED_BY_BUTTONS = HEADINGS | {"summary", "dt"}  # the headings of parts that unfold

_RAW = re.compile(r"<(?:(script|style|svg|iframe|noembed|noframes|xmp|plaintext)(?=[\s>])[^<>]*>|!--)")
_TAG = re.compile(r"<(/?)([a-z][^\s<>/]*+)([^<>]*+)>([^<]*+)")  # in attributes lexbor writes &lt; and &gt;
_SHOWN_AS_BLOCK = re.compile(r"display:\s*+(?:block|flex|grid|table|list-item)")


@dataclass(slots=True)
class Element:
    """An element that breaks lines."""

    parent: int  # its index; -1 for the first
    name: str
    attributes: str
    kind: str


@dataclass(slots=True)
class Block:
    """A paragraph, a heading, the text of an item or of a cell, or a row of a table of data."""

    element: int  # index of the element that it stands in
    kind: str  # of `OWN_KINDS`, "row", or "div"
    text: str
    link_characters: int
    marker: str = ""  # "- " or "1. " for the first block of an item
    indent: int = 0
    cells: tuple[str, ...] = ()  # of a row
    table: int = -1  # of a row: index of its table


@dataclass(slots=True)
class Page:
    """Blocks and elements, in the order of the page."""

    blocks: list[Block] = field(default_factory=list)
    elements: list[Element] = field(default_factory=list)
    kind: str = "none"  # of `page_kind.KINDS`
    title: str = ""


@dataclass(slots=True)
class _Item:
    """An item of a list that is open."""

    marker: str
    indent: int
    is_marked: bool = False  # its first block has the marker


@dataclass(slots=True)
class _Table:
    """A table that is open."""

    element: int
    first_block: int
    is_layout: bool = False


def read_blocks(markup: str) -> Page:
    """Return the blocks of markup that lexbor wrote."""
    return _Reading().read(without_raw_text(markup))


def without_raw_text(markup: str) -> str:
    """Return the markup without comments, drawings and elements whose content is no markup, but for those shown as text."""
    pieces: list[str] = []
    place = 0
    while (start := _RAW.search(markup, place)) is not None:
        pieces.append(markup[place : start.start()])
        name = start[1]
        end_tag = f"</{name}>" if name else "-->"
        end = markup.find(end_tag, start.end())
        if end < 0:
            return "".join(pieces)
        if name == "svg" and markup.find("<svg", start.end(), end) >= 0:  # the end is that of another
            pieces.append(start[0])
            place = start.end()
            continue
        if name in ("xmp", "plaintext"):
            pieces += ["<pre>", html.escape(markup[start.end() : end]), "</pre>"]
        place = end + len(end_tag)
    pieces.append(markup[place:])
    return "".join(pieces)


class _Reading:
    """One pass over the tags of a page."""

    def __init__(self) -> None:
        self.page = Page()
        self.open: list[int] = []  # indices of open elements
        self.pieces: list[str] = []  # of the block that is being read
        self.link_characters = 0  # of this block
        self.permalinks: list[int] = []  # places in `pieces`
        self.preformatted: list[int] = []  # open <pre>
        self.next_numbers: list[int] = []  # of each open list; 0 where it has bullets
        self.items: list[_Item] = []
        self.tables: list[_Table] = []

    def read(self, markup: str) -> Page:
        """Return the page."""
        left_out = ""  # name of the element that is being left out
        levels = 0  # of elements of this name that are open
        is_link = False
        pieces, preformatted = self.pieces, self.preformatted
        for slash, name, attributes, text in _TAG.findall(markup):
            if left_out:
                if name != left_out:
                    continue
                levels += -1 if slash else 1
                if levels:
                    continue
                left_out = ""
            elif name in BLOCK_ELEMENTS:
                if pieces:
                    self._flush()
                if slash:
                    self._close(name)
                else:
                    self._open(name, attributes)
            elif name in SPECIAL:
                if name == "a":
                    is_link = not slash and "href" in attributes
                elif name == "br":
                    pieces.append(LINE_BREAK)
                elif name == "hr":
                    self._flush()
                elif not slash and not (name == "button" and self._is_named_by_button()):
                    left_out, levels = name, 1
                    continue
            elif attributes and "display:" in attributes and _SHOWN_AS_BLOCK.search(attributes):
                self._flush()
            if text and (pieces or preformatted or not text.isspace()):
                if is_link and text in PERMALINKS and 'href="#' in attributes:
                    self.permalinks.append(len(pieces))
                pieces.append(text)
                if is_link:
                    self.link_characters += len(text)
        self._flush()
        return self.page

    def _is_named_by_button(self) -> bool:
        return bool(self.open) and self.page.elements[self.open[-1]].kind in NAMED_BY_BUTTONS

    def _open(self, name: str, attributes: str) -> None:
        elements = self.page.elements
        parent = self.open[-1] if self.open else -1
        kind = "div"
        if name in OWN_KINDS:
            kind = name
        elif parent >= 0 and elements[parent].kind in INHERITED_KINDS and name not in LISTS and name != "table":
            kind = elements[parent].kind
        self.open.append(len(elements))
        elements.append(Element(parent, name, attributes, kind))
        if name == "pre":
            self.preformatted.append(self.open[-1])
        elif name in LISTS:
            self.next_numbers.append(1 if name == "ol" else 0)
        elif name == "li":
            self._open_item()
        elif name == "table":
            for table in self.tables:
                table.is_layout = True
            self.tables.append(_Table(self.open[-1], len(self.page.blocks)))

    def _open_item(self) -> None:
        marker = "- "
        if self.next_numbers and self.next_numbers[-1]:
            marker = f"{self.next_numbers[-1]}. "
            self.next_numbers[-1] += 1
        indent = 0
        if self.items:
            indent = min(MAX_INDENT, self.items[-1].indent + len(self.items[-1].marker))
        self.items.append(_Item(marker, indent))

    def _close(self, name: str) -> None:
        if not self.open:
            return
        self.open.pop()
        if name == "pre":
            self.preformatted.pop()
        elif name in LISTS:
            self.next_numbers.pop()
        elif name == "li":
            self.items.pop()
        elif name == "table":
            table = self.tables.pop()
            if not table.is_layout:
                _join_rows(self.page, table)

    def _flush(self) -> None:
        """End the block."""
        if not self.pieces:
            return
        if self.permalinks:
            self._drop_permalinks()
        text = "".join(self.pieces)
        self.pieces.clear()
        link_characters, self.link_characters = self.link_characters, 0
        if "&" in text:
            text = html.unescape(text)
        if self.preformatted:
            self._add_preformatted(text.replace(LINE_BREAK, "\n"), link_characters)
            return
        text = _joined_lines(text) if LINE_BREAK in text else " ".join(text.split())
        if not text or not self.open:
            return
        element = self.open[-1]
        block = Block(element, self.page.elements[element].kind, text, min(link_characters, len(text)))
        self._mark(block)
        self.page.blocks.append(block)

    def _drop_permalinks(self) -> None:
        """Leave out those at the end of the block, and at the beginning of a heading: within a sentence they are words."""
        pieces, permalinks = self.pieces, set(self.permalinks)
        self.permalinks.clear()
        is_heading = bool(self.open) and self.page.elements[self.open[-1]].kind in HEADINGS
        for places in (range(len(pieces) - 1, -1, -1), range(len(pieces) if is_heading else 0)):
            for place in places:
                if place in permalinks:
                    self.link_characters -= len(pieces[place])
                    pieces[place] = ""
                elif not pieces[place].isspace() and pieces[place]:
                    break

    def _add_preformatted(self, text: str, link_characters: int) -> None:
        """Add code, to the block before where both stand in one <pre>."""
        blocks = self.page.blocks
        element = self.preformatted[-1]
        if blocks and blocks[-1].kind == "pre" and blocks[-1].element == element:
            blocks[-1].text += "\n" + text.strip("\n")
            blocks[-1].link_characters += link_characters
        elif text.strip():
            block = Block(element, "pre", text.strip("\n"), link_characters)
            self._mark(block)
            blocks.append(block)

    def _mark(self, block: Block) -> None:
        """Give a block that stands in an item its marker and its indent."""
        if not self.items:
            return
        item = self.items[-1]
        block.indent = item.indent
        if item.is_marked:
            block.indent = min(MAX_INDENT, item.indent + len(item.marker))
        else:
            block.marker = item.marker
            item.is_marked = True


def _joined_lines(text: str) -> str:
    """Return the lines that are not empty, with single spaces."""
    lines = [" ".join(line.split()) for line in text.split(LINE_BREAK)]
    return "\n".join(filter(None, lines))


def _join_rows(page: Page, table: _Table) -> None:
    """Replace the blocks of a table of data by one for each row; leave a layout as it is."""
    blocks = page.blocks[table.first_block :]
    if len(blocks) < 2:
        return
    place_of_cell: dict[int, tuple[int, int]] = {}  # element -> (row, column)
    rows: list[list[str]] = []
    for index in range(table.element + 1, len(page.elements)):
        element = page.elements[index]
        if element.name == "tr":
            rows.append([])
        elif element.name in CELLS and rows:
            place_of_cell[index] = (len(rows) - 1, len(rows[-1]))
            rows[-1].append("")
    link_characters = [0] * len(rows)
    first_elements = [-1] * len(rows)
    for block in blocks:
        cell = block.element
        while cell > table.element and cell not in place_of_cell:
            cell = page.elements[cell].parent
        if cell <= table.element:
            if block.kind == "caption":
                continue
            return
        row, column = place_of_cell[cell]
        if rows[row][column] or block.kind == "pre" or block.marker or len(block.text) > MAX_CELL:
            return
        rows[row][column] = block.text.replace("\n", " ")
        link_characters[row] += block.link_characters
        if first_elements[row] < 0:
            first_elements[row] = cell
    width = max(map(len, rows))
    if width < 2:
        return
    captions = [block for block in blocks if block.kind == "caption"]
    indent = blocks[0].indent
    del page.blocks[table.first_block :]
    page.blocks += captions
    for number, cells in enumerate(rows):
        text = " ".join(filter(None, cells))
        if text:
            cells += [""] * (width - len(cells))
            line = page.elements[first_elements[number]].parent
            joined = Block(line, "row", text, link_characters[number], "", indent, tuple(cells), table.element)
            page.blocks.append(joined)
