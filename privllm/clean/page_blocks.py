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
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_INDENT = 12  # characters; lists nested deeper stay there, or nesting would multiply a page's size
MAX_CELL = 500  # characters; a table with a longer cell is a layout, not data
MIN_PROSE = 80  # characters; a table of a single row with a longer cell is a layout too

BLOCK_ELEMENTS = frozenset(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav noscript ol optgroup p pre search section summary table "
    "tbody td tfoot th thead tr ul".split()
)
LEFT_OUT = frozenset("svg template object canvas video audio select textarea map datalist button head".split())
HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
LINE_BREAK = "\0"  # of <br>; HTML has no such character
CELLS = frozenset(("td", "th"))
PERMALINKS = frozenset(
    ("¶", "#", "§", "🔗", "⚓")
)  # text of the link with which a heading or a paragraph points to itself
LISTS = frozenset(("ul", "ol", "menu", "dir"))
# What a block is, where the element itself says it, and what the elements in it inherit.
OWN_KINDS = HEADINGS | CELLS | frozenset("p li dt dd pre blockquote figcaption caption summary address".split())
INHERITED_KINDS = HEADINGS | CELLS | frozenset("li dt dd pre figcaption caption summary".split())
_HEIRLESS = LISTS | {"table"}  # that inherit nothing
NAMED_BY_BUTTONS = HEADINGS | {"summary", "dt"}  # the headings of parts that unfold

# What a tag does, by its name with the slash of the end; those that do nothing are not listed.
_OPENS, _CLOSES, _OPENS_SPECIAL, _CLOSES_SPECIAL, _OPENS_LINK, _CLOSES_LINK, _BREAKS, _PARTS, _IS_LEFT_OUT = range(9)
_SPECIAL = LISTS | CELLS | {"pre", "li", "table", "tr"}
_ROLES = {
    **dict.fromkeys(BLOCK_ELEMENTS - _SPECIAL, _OPENS),
    **dict.fromkeys((f"/{name}" for name in BLOCK_ELEMENTS - _SPECIAL), _CLOSES),
    **dict.fromkeys(_SPECIAL, _OPENS_SPECIAL),
    **dict.fromkeys((f"/{name}" for name in _SPECIAL), _CLOSES_SPECIAL),
    **dict.fromkeys(LEFT_OUT, _IS_LEFT_OUT),
    "a": _OPENS_LINK,
    "/a": _CLOSES_LINK,
    "br": _BREAKS,
    "/br": _BREAKS,
    "hr": _PARTS,
    "/hr": _PARTS,
}

_RAW = re.compile(r"<(?:(script|style|svg|iframe|noembed|noframes|xmp|plaintext)(?=[\s>])[^>]*>|!--)")
_SHOWN_AS_BLOCK = re.compile(r"display:\s*+(?:block|flex|grid|table|list-item)")


@dataclass(slots=True)
class Elements:
    """The elements that break lines and hold text, and all of a table, in the order of their tags: for each of them"""

    parents: list[int] = field(default_factory=list)  # the index of the one that it stands in; -1 for the first
    names: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)  # name and attributes, as they are written
    kinds: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # the index of the first element after it that does not stand in it

    def __len__(self) -> int:
        return len(self.parents)


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
    elements: Elements = field(default_factory=Elements)
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
            pieces += ["<pre>", html.escape(markup[start.end() : end], quote=False), "</pre>"]
        place = end + len(end_tag)
    pieces.append(markup[place:])
    return "".join(pieces)


class _Reading:
    """One pass over the tags of a page. Elements are made where text stands in them, since half of a page's have none."""

    def __init__(self) -> None:
        self.page = Page()
        self.tags: list[str] = []  # of open elements
        self.open: list[int] = []  # indices of open elements, of the outer ones that are made
        self.pieces: list[str] = []  # of the block that is being read
        self.link_characters = 0  # of this block
        self.permalinks: list[int] = []  # places in `pieces`
        self.preformatted: list[int] = []  # open <pre>
        self.next_numbers: list[int] = []  # of each open list; 0 where it has bullets
        self.items: list[_Item] = []
        self.tables: list[_Table] = []

    def read(self, markup: str) -> Page:
        """Return the page."""
        role_of = _ROLES.get
        is_link = False
        unclosed = ""
        tags, open_elements, pieces, preformatted = self.tags, self.open, self.pieces, self.preformatted
        parts = iter(markup.split("<"))
        next(parts)  # what stands before the first tag
        for part in parts:
            tag, closed, text = part.partition(">")  # in attributes lexbor writes &lt; and &gt;
            if not closed or unclosed:  # what follows belongs to it: a name of an attribute may have "<" in it
                tag = f"{unclosed}{tag}"
                unclosed = "" if closed else f"{tag}<"
                if not closed:
                    continue
            role = role_of(tag.partition(" ")[0] if " " in tag else tag)
            if role is None:  # most of them are <span>
                if "display:" in tag and _SHOWN_AS_BLOCK.search(tag):
                    self._flush()
            elif role == _OPENS:
                if pieces:
                    self._flush()
                tags.append(tag)
            elif role == _CLOSES:
                if pieces:
                    self._flush()
                if len(open_elements) == len(tags):
                    self._close()
                else:
                    tags.pop()
            elif role == _OPENS_LINK:
                is_link = "href" in tag
            elif role == _CLOSES_LINK:
                is_link = False
            elif role == _OPENS_SPECIAL:
                if pieces:
                    self._flush()
                tags.append(tag)
                self._open_special(tag.partition(" ")[0])
            elif role == _CLOSES_SPECIAL:
                if pieces:
                    self._flush()
                self._close_special()
            elif role == _BREAKS:
                pieces.append(LINE_BREAK)
            elif role == _PARTS:
                self._flush()
            elif role == _IS_LEFT_OUT and not (tag.startswith("button") and self._is_named_by_button()):
                text = _after(tag.partition(" ")[0], parts)
            if text and (pieces or preformatted or not text.isspace()):
                if is_link:
                    if text in PERMALINKS and 'href="#' in tag:
                        self.permalinks.append(len(pieces))
                    self.link_characters += len(text)
                pieces.append(text)
        self._flush()
        while self.tags:
            self._close()
        return self.page

    def _make_elements(self) -> int:
        """Make those open elements that are not made yet, and return the index of the innermost."""
        elements = self.page.elements
        parents, names, kinds = elements.parents, elements.names, elements.kinds
        parent = self.open[-1] if self.open else -1
        for tag in self.tags[len(self.open) :]:
            name = tag.partition(" ")[0]
            kind = name
            if name not in OWN_KINDS:
                kind = kinds[parent] if parent >= 0 and name not in _HEIRLESS else "div"
                if kind not in INHERITED_KINDS:
                    kind = "div"
            parents.append(parent)
            names.append(name)
            elements.tags.append(tag)
            kinds.append(kind)
            elements.ends.append(0)
            parent = len(parents) - 1
            self.open.append(parent)
        return parent

    def _close(self) -> None:
        if len(self.open) == len(self.tags) > 0:
            self.page.elements.ends[self.open.pop()] = len(self.page.elements)
        if self.tags:
            self.tags.pop()

    def _is_named_by_button(self) -> bool:
        element = self._make_elements()
        return element >= 0 and self.page.elements.kinds[element] in NAMED_BY_BUTTONS

    def _open_special(self, name: str) -> None:
        if name in LISTS:
            self.next_numbers.append(1 if name == "ol" else 0)
        elif name == "li":
            self._open_item()
        elif name == "pre":
            self.preformatted.append(self._make_elements())
        elif name == "table":
            for table in self.tables:
                table.is_layout = True
            self.tables.append(_Table(self._make_elements(), len(self.page.blocks)))
        else:
            self._make_elements()  # rows and cells count where they are empty too

    def _close_special(self) -> None:
        """Close the innermost element, by its own name: a page with "<!--" in the name of an element has ends of others."""
        if not self.tags:
            return
        name = self.tags[-1].partition(" ")[0]
        self._close()
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

    def _open_item(self) -> None:
        marker = "- "
        if self.next_numbers and self.next_numbers[-1]:
            marker = f"{self.next_numbers[-1]}. "
            self.next_numbers[-1] += 1
        indent = 0
        if self.items:
            indent = min(MAX_INDENT, self.items[-1].indent + len(self.items[-1].marker))
        self.items.append(_Item(marker, indent))

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
            text = _unescaped(text)
        if self.preformatted:
            self._add_preformatted(text.replace(LINE_BREAK, "\n"), link_characters)
            return
        text = _joined_lines(text) if LINE_BREAK in text else " ".join(text.split())
        if not text or not self.tags:
            return
        element = self.open[-1] if len(self.open) == len(self.tags) else self._make_elements()
        if link_characters > len(text):
            link_characters = len(text)
        block = Block(element, self.page.elements.kinds[element], text, link_characters)
        if self.items:
            self._mark(block)
        self.page.blocks.append(block)

    def _drop_permalinks(self) -> None:
        """Leave out those at the end of the block, and at the beginning of a heading: within a sentence they are words."""
        pieces, permalinks = self.pieces, set(self.permalinks)
        self.permalinks.clear()
        element = self._make_elements()
        is_heading = element >= 0 and self.page.elements.kinds[element] in HEADINGS
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


def _unescaped(text: str) -> str:
    """Return a text without the references that lexbor writes in texts."""
    return text.replace("&nbsp;", "\xa0").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _joined_lines(text: str) -> str:
    """Return the lines that are not empty, with single spaces."""
    lines = [" ".join(line.split()) for line in text.split(LINE_BREAK)]
    return "\n".join(filter(None, lines))


def _after(name: str, parts: Iterator[str]) -> str:
    """Pass over what stands in an element that was opened, and return the text after its end."""
    levels = 1
    for part in parts:
        tag, _, text = part.partition(">")
        if tag == f"/{name}":
            levels -= 1
            if not levels:
                return text
        elif tag.startswith(name) and tag.partition(" ")[0] == name:
            levels += 1
    return ""


def _is_layout(rows: list[list[str]]) -> bool:
    """Return whether cells stand below each other, or a single row holds prose: a note with its sign, an item with its number."""
    filled = [[cell for cell in cells if cell] for cells in rows]
    if all(len(cells) < 2 for cells in filled):
        return True
    with_text = [cells for cells in filled if cells]
    return len(with_text) == 1 and max(map(len, with_text[0])) >= MIN_PROSE


def _join_rows(page: Page, table: _Table) -> None:
    """Replace the blocks of a table of data by one for each row; leave a layout as it is."""
    blocks = page.blocks[table.first_block :]
    if len(blocks) < 2:
        return
    place_of_cell: dict[int, tuple[int, int]] = {}  # element -> (row, column)
    rows: list[list[str]] = []
    for index in range(table.element + 1, len(page.elements)):
        name = page.elements.names[index]
        if name == "tr":
            rows.append([])
        elif name in CELLS and rows:
            place_of_cell[index] = (len(rows) - 1, len(rows[-1]))
            rows[-1].append("")
    link_characters = [0] * len(rows)
    first_elements = [-1] * len(rows)
    for block in blocks:
        cell = block.element
        while cell > table.element and cell not in place_of_cell:
            cell = page.elements.parents[cell]
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
    if _is_layout(rows):
        return
    width = max(map(len, rows))
    captions = [block for block in blocks if block.kind == "caption"]
    indent = blocks[0].indent
    del page.blocks[table.first_block :]
    page.blocks += captions
    for number, cells in enumerate(rows):
        text = " ".join(filter(None, cells))
        if text:
            cells += [""] * (width - len(cells))
            line = page.elements.parents[first_elements[number]]
            joined = Block(line, "row", text, link_characters[number], "", indent, tuple(cells), table.element)
            page.blocks.append(joined)
