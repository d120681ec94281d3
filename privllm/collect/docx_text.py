"""The text of a Word document as light Markdown.

Headings are known by their style or outline level, lists by their numbering. Notes follow the text.
Headers, footers, comments, tables of contents, hidden text, and what tracked changes delete are left out.
"""

import posixpath
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from privllm.collect.drawing_text import graphics
from privllm.collect.markdown_blocks import Block, heading, item, joined, table
from privllm.collect.office_package import Package, properties
from privllm.collect.parsed import NoText, Parsed
from privllm.collect.word_symbols import symbol

WITHIN = {"{w}ins", "{w}moveTo", "{w}smartTag", "{w}customXml", "{w}hyperlink", "{w}fldSimple", "{w}dir", "{w}bdo"}
OFF = {"0", "false", "off"}
NO_LEVEL = 9  # the outline level of body text
SPECIAL = {"{w}tab": " ", "{w}cr": "\n", "{w}noBreakHyphen": "-", "{w}ptab": " "}


class Style(NamedTuple):
    """What a style says of a paragraph."""

    name: str = ""
    level: int = 0  # of a heading, from 1; 0: none
    number: str = ""  # of a list; "0": none
    depth: int = 0
    is_hidden: bool = False


class Level(NamedTuple):
    """A level of a list."""

    form: str  # "bullet", "none", "decimal" ...
    start: int


def docx_text(package: Package) -> Parsed:
    """Return the text of a Word document. Raises `NoText`."""
    part = package.main_part("word/document.xml")
    tree = package.tree(part)
    body = tree.find("{w}body") if tree is not None else None
    if body is None:
        raise NoText("damaged", f"it has no text ({part})")
    document = _Document(package, part)
    blocks = [*document.blocks(body), *document.notes()]
    return Parsed(joined(blocks), *properties(package))


class _Document:
    """A document that is being read: its styles and lists, and the notes that were met."""

    def __init__(self, package: Package, part: str) -> None:
        folder = posixpath.dirname(part)
        self.package, self.related = package, package.related(part)
        named = dict(self.related.values())
        trees = {
            name: package.tree(named.get(name, f"{folder}/{name}.xml"))
            for name in ("styles", "numbering", "footnotes", "endnotes")
        }
        self.styles = _Styles(trees["styles"])
        self.lists = _lists(trees["numbering"])
        self.note_elements = {name: _notes(trees[name]) for name in ("footnotes", "endnotes")}
        self.counters: dict[str, list[int]] = {}
        self.met: list[Element] = []  # notes, in order of their references
        self.numbers: dict[tuple[str, str], int] = {}  # of notes
        self.drawings: list[Element] = []  # of the paragraph that is being read

    def blocks(self, parent: Element) -> Iterator[Block]:
        """Yield the blocks of a body, a cell, a text box or a note."""
        for element in parent:
            if element.tag == "{w}p":
                yield from self._paragraph(element)
            elif element.tag == "{w}tbl":
                yield from self._table(element)
            elif element.tag == "{w}sdt":
                yield from self._controlled(element)
            elif element.tag in WITHIN:
                yield from self.blocks(element)
            elif element.tag == "{mc}AlternateContent":
                yield from self.blocks(_chosen(element))
            elif element.tag == "{w}altChunk":
                _, part = self.related.get(element.get("{r}id", ""), ("", "a document"))
                raise NoText(
                    "unsupported", f"{part} lies in it, which Word takes in on opening: open it there and save it"
                )

    def notes(self) -> Iterator[Block]:
        """Yield the notes that the text refers to; a note may refer to another."""
        number = 0
        while number < len(self.met):
            text = " ".join(block.text for block in self.blocks(self.met[number]))
            number += 1
            yield Block(f"[^{number}]: {text.strip()}")

    def _controlled(self, element: Element) -> Iterator[Block]:
        """Yield the blocks of a content control; a table of contents is none."""
        content = element.find("{w}sdtContent")
        gallery = element.find("{w}sdtPr/{w}docPartObj/{w}docPartGallery")
        if content is not None and (gallery is None or gallery.get("{w}val") != "Table of Contents"):
            yield from self.blocks(content)

    def _paragraph(self, element: Element) -> Iterator[Block]:
        """Yield a paragraph, and the text boxes that are anchored in it."""
        own = element.find("{w}pPr")
        style = self.styles.of(_value(own, "{w}pStyle"))
        outer, self.drawings = self.drawings, []
        text = "" if style.is_hidden else "".join(self._inline(element)).strip()
        drawings, self.drawings = self.drawings, outer
        if text and not style.name.startswith("toc "):
            yield self._formed(text, own, style)
        for drawing in drawings:
            for content in _text_boxes(drawing):
                yield from self.blocks(content)
            yield from graphics(self.package, drawing, self.related)

    def _formed(self, text: str, own: Element | None, style: Style) -> Block:
        """Return a paragraph's text as a heading, an item or as it is."""
        outline = _value(own, "{w}outlineLvl")
        level = _level(outline) if outline else style.level
        if level:
            return heading(text, level)
        number = _value(own, "{w}numPr/{w}numId") or style.number
        depth = _integer(_value(own, "{w}numPr/{w}ilvl"), style.depth)
        form = self.lists.get(number, {}).get(depth)
        if form is None or form.form == "none":
            return Block(text)
        return item(text, depth, 0 if form.form == "bullet" else self._counted(number, depth, form.start))

    def _counted(self, number: str, depth: int, start: int) -> int:
        """Return the next number of a level of a list; the levels below it begin anew."""
        counters = self.counters.setdefault(number, [])
        del counters[depth + 1 :]
        counters.extend(-1 for _ in range(depth + 1 - len(counters)))
        counters[depth] = start if counters[depth] < 0 else counters[depth] + 1
        return counters[depth]

    def _inline(self, parent: Element) -> Iterator[str]:
        """Yield the pieces of a paragraph's text."""
        for element in parent:
            tag = element.tag
            if tag == "{w}r":
                yield from self._run(element)
            elif tag in WITHIN:
                yield from self._inline(element)
            elif tag == "{w}sdt":
                content = element.find("{w}sdtContent")
                yield from self._inline(content) if content is not None else ()
            elif tag == "{mc}AlternateContent":
                yield from self._inline(_chosen(element))
            elif tag in ("{m}oMath", "{m}oMathPara"):
                yield "".join(text.text or "" for text in element.iter("{m}t"))

    def _run(self, run: Element) -> Iterator[str]:
        """Yield the pieces of a run of equal letters."""
        own = run.find("{w}rPr")
        if own is not None and (_is_on(own.find("{w}vanish")) or self._has_hidden_style(own)):
            return
        yield from self._content(run)

    def _has_hidden_style(self, own: Element) -> bool:
        return self.styles.of(_value(own, "{w}rStyle")).is_hidden

    def _content(self, run: Element) -> Iterator[str]:
        for element in run:
            tag = element.tag
            if tag == "{w}t":
                yield element.text or ""
            elif tag in SPECIAL:
                yield SPECIAL[tag]
            elif tag == "{w}sym":
                yield symbol(element.get("{w}font", ""), element.get("{w}char", ""))
            elif tag == "{w}br":
                yield "\n" if element.get("{w}type", "textWrapping") == "textWrapping" else " "
            elif tag in ("{w}footnoteReference", "{w}endnoteReference"):
                yield self._reference(tag.removeprefix("{w}").replace("Reference", "s"), element.get("{w}id", ""))
            elif tag in ("{w}drawing", "{w}pict", "{w}object"):
                self.drawings.append(element)
            elif tag == "{mc}AlternateContent":
                yield from self._content(_chosen(element))
            elif tag == "{w}ruby":
                base = element.find("{w}rubyBase")
                yield from self._inline(base) if base is not None else ()

    def _reference(self, kind: str, name: str) -> str:
        """Return the mark of a note, and remember the note."""
        note = self.note_elements[kind].get(name)
        if note is None:
            return ""
        if (kind, name) not in self.numbers:
            self.met.append(note)
            self.numbers[kind, name] = len(self.met)
        return f"[^{self.numbers[kind, name]}]"

    def _table(self, element: Element) -> Iterator[Block]:
        """Yield a table; one that has a single column lays out its blocks."""
        rows = [self._cells(row) for row in _rows(element)]
        if all(len(cells) < 2 for cells in rows):
            for cells in rows:
                yield from (block for blocks in cells for block in blocks)
            return
        yield from table([[" ".join(block.text for block in blocks) for blocks in cells] for cells in rows])

    def _cells(self, row: Element) -> list[list[Block]]:
        """Return the blocks of each cell of a row; cells that are merged with the one above are empty."""
        cells: list[list[Block]] = []
        for cell in _within(row, "{w}tc"):
            own = cell.find("{w}tcPr")
            merged = own.find("{w}vMerge") if own is not None else None
            goes_on = merged is not None and merged.get("{w}val", "continue") == "continue"
            cells.append([] if goes_on else list(self.blocks(cell)))
        return cells


class _Styles:
    """The styles of a document by id. A document has hundreds, and uses a few."""

    def __init__(self, tree: Element | None) -> None:
        self._elements = {style.get("{w}styleId", ""): style for style in (tree if tree is not None else ())}
        self._known: dict[str, Style] = {}

    def of(self, name: str) -> Style:
        """Return a style; what it does not say is that of the style that it is based on."""
        if name not in self._known:
            self._known[name] = Style()  # for styles that are based on each other
            element = self._elements.get(name)
            if element is not None:
                self._known[name] = _derived(element, self.of(_value(element, "{w}basedOn")))
        return self._known[name]


def _rows(element: Element) -> Iterator[Element]:
    """Yield the rows of a table that are neither hidden nor deleted."""
    for row in _within(element, "{w}tr"):
        own = row.find("{w}trPr")
        if own is None or not (_is_on(own.find("{w}hidden")) or own.find("{w}del") is not None):
            yield row


def _within(parent: Element, tag: str) -> Iterator[Element]:
    """Yield children of a kind, also those in content controls and tracked insertions."""
    for element in parent:
        if element.tag == tag:
            yield element
        elif element.tag in WITHIN or element.tag in ("{w}sdt", "{w}sdtContent"):
            yield from _within(element, tag)


def _chosen(alternatives: Element) -> Element:
    """Return the one of several forms of a content that is read: the first."""
    choice = alternatives.find("{mc}Choice")
    if choice is None:
        choice = alternatives.find("{mc}Fallback")
    return alternatives if choice is None else choice


def _text_boxes(element: Element) -> Iterator[Element]:
    """Yield the text boxes in a drawing; of several forms of one the first."""
    for child in element:
        if child.tag == "{w}txbxContent":
            yield child
        else:
            yield from _text_boxes(_chosen(child) if child.tag == "{mc}AlternateContent" else child)


def _derived(element: Element, base: Style) -> Style:
    """Return a style that is based on another."""
    name = _value(element, "{w}name").lower()
    outline = _value(element, "{w}pPr/{w}outlineLvl")
    level = _level(outline) if outline else base.level
    kind, _, digit = name.rpartition(" ")
    if kind == "heading" and digit.isdecimal():
        level = int(digit)
    elif name == "title":
        level = 1
    hidden = element.find("{w}rPr/{w}vanish")
    return Style(
        name,
        level,
        _value(element, "{w}pPr/{w}numPr/{w}numId") or base.number,
        _integer(_value(element, "{w}pPr/{w}numPr/{w}ilvl"), base.depth),
        base.is_hidden if hidden is None else _is_on(hidden),
    )


def _lists(tree: Element | None) -> dict[str, dict[int, Level]]:
    """Return the levels of each list by its id."""
    if tree is None:
        return {}
    abstract = {element.get("{w}abstractNumId", ""): _levels(element) for element in tree.findall("{w}abstractNum")}
    lists: dict[str, dict[int, Level]] = {}
    for number in tree.findall("{w}num"):
        levels = dict(abstract.get(_value(number, "{w}abstractNumId"), {}))
        for change in number.findall("{w}lvlOverride"):
            depth = _integer(change.get("{w}ilvl", ""), 0)
            start = _value(change, "{w}startOverride")
            if start and depth in levels:
                levels[depth] = levels[depth]._replace(start=_integer(start, 1))
            levels |= _levels(change)
        lists[number.get("{w}numId", "")] = levels
    return lists


def _levels(parent: Element) -> dict[int, Level]:
    levels: dict[int, Level] = {}
    for element in parent.findall("{w}lvl"):
        form = Level(_value(element, "{w}numFmt") or "decimal", _integer(_value(element, "{w}start"), 1))
        levels[_integer(element.get("{w}ilvl", ""), 0)] = form
    return levels


def _notes(tree: Element | None) -> dict[str, Element]:
    """Return the notes by id, without the lines that separate them from the text."""
    notes = tree if tree is not None else ()
    return {note.get("{w}id", ""): note for note in notes if note.get("{w}type", "normal") == "normal"}


def _value(parent: Element | None, path: str) -> str:
    """Return the value of a property, "" where it is not set."""
    found = parent.find(path) if parent is not None else None
    return found.get("{w}val", "") if found is not None else ""


def _is_on(element: Element | None) -> bool:
    return element is not None and element.get("{w}val", "true") not in OFF


def _level(outline: str) -> int:
    """Return the level of a heading by an outline level from 0, 0 for body text."""
    level = _integer(outline, NO_LEVEL)
    return level + 1 if level < NO_LEVEL else 0


def _integer(text: str, otherwise: int) -> int:
    """Return a number between 0 and 9,999, or another value where the text is none."""
    return int(text) if text.isdecimal() and len(text) < 5 else otherwise
