"""The text of an OpenDocument file as light Markdown: a text, a spreadsheet or a presentation (LibreOffice and others).

Headings, lists, tables and notes are kept. Headers, footers, comments, tables of contents, hidden
text and sheets, and what tracked changes deleted are left out.
"""

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from privllm.collect.markdown_blocks import Block, heading, item, joined, sparse_table
from privllm.collect.office_package import Package, text_of
from privllm.collect.parsed import About, NoText, Parsed

PARTS_OF_TEXT = {
    "{text}section",
    "{text}numbered-paragraph",
    "{text}bibliography",
    "{text}index-body",
    "{draw}a",
    "{draw}g",
}
LEFT_OUT = {
    *("{office}annotation", "{office}annotation-end", "{text}tracked-changes", "{text}hidden-text", "{office}forms"),
    *("{text}hidden-paragraph", "{text}page-number", "{text}page-count", "{text}ruby-text", "{office}event-listeners"),
    *("{svg}title", "{svg}desc", "{office}binary-data"),
}
SHAPES = {
    "{draw}frame",
    "{draw}custom-shape",
    "{draw}rect",
    "{draw}ellipse",
    "{draw}line",
    "{draw}connector",
    "{draw}caption",
    "{draw}circle",
    "{draw}measure",
    "{draw}path",
    "{draw}polygon",
    "{draw}polyline",
    "{draw}regular-polygon",
}
MARGINS = {"header", "footer", "date-time", "page-number", "page"}  # classes of a slide's frames that repeat
SHEET_PARTS = {"{table}table-rows", "{table}table-header-rows", "{table}table-row-group"}
COLUMN_PARTS = {"{table}table-columns", "{table}table-header-columns", "{table}table-column-group"}
HIDDEN = ("collapse", "filter")
MAX_COLUMNS = 16_384
MAX_COPIES = 100_000  # cells of a document that are written once more, as a cell or its row is repeated
MAX_SPACES = 100


def odf_text(package: Package) -> Parsed:
    """Return the text of an OpenDocument file. Raises `NoText`."""
    manifest = package.tree("META-INF/manifest.xml")
    if manifest is not None and next(manifest.iter("{manifest}encryption-data"), None) is not None:
        raise NoText("encrypted", "a password is needed: save it without one")
    content = package.tree("content.xml")
    body = content.find("{office}body") if content is not None else None
    if content is None or body is None:
        raise NoText("damaged", "it has no content")
    document = _Document(package, [tree for tree in (package.tree("styles.xml"), content) if tree is not None])
    blocks = [block for element in body for block in document.content(element)]
    return Parsed(joined([*blocks, *document.notes()]), *_properties(package))


def _properties(package: Package) -> About:
    tree = package.tree("meta.xml")
    if tree is None:
        return About()
    author = text_of(tree.find("{office}meta/{meta}initial-creator")) or text_of(tree.find("{office}meta/{dc}creator"))
    date = text_of(tree.find("{office}meta/{meta}creation-date")) or text_of(tree.find("{office}meta/{dc}date"))
    return About(text_of(tree.find("{office}meta/{dc}title")), author, date[:10])


class _Document:
    """A document that is being read: its styles, and the notes that were met."""

    def __init__(self, package: Package, trees: list[Element]) -> None:
        self.package = package
        self.hidden: set[str] = set()  # styles
        self.parents: dict[str, str] = {}  # of styles
        self.numbered: dict[str, set[int]] = {}  # levels of list styles that count
        self.met: list[Element] = []  # notes
        self.copies = 0  # of cells, written so far
        for tree in trees:
            for style in tree.iter("{style}style"):
                self._add_style(style)
            for style in tree.iter("{text}list-style"):
                levels = style.iterfind("{text}list-level-style-number")
                counting = {
                    _integer(level.get("{text}level", ""), 1) for level in levels if level.get("{style}num-format")
                }
                self.numbered[style.get("{style}name", "")] = counting

    def _add_style(self, style: Element) -> None:
        name = style.get("{style}name", "")
        self.parents[name] = style.get("{style}parent-style-name", "")
        for own in style:
            shown = own.get("{table}display", "true") == "true" and own.get("{text}display", "true") != "none"
            if not shown or own.get("{presentation}visibility") == "hidden":
                self.hidden.add(name)

    def content(self, element: Element) -> Iterator[Block]:
        """Yield the blocks of a text, a spreadsheet or a presentation."""
        if element.tag == "{office}spreadsheet":
            yield from self._sheets(element)
        elif element.tag == "{office}presentation":
            yield from self._slides(element)
        else:
            yield from self.blocks(element)

    def notes(self) -> Iterator[Block]:
        """Yield the notes that were met; a note may hold another."""
        number = 0
        while number < len(self.met):
            text = " ".join(block.text for block in self.blocks(self.met[number]))
            number += 1
            yield Block(f"[^{number}]: {text.strip()}")

    def blocks(self, parent: Iterable[Element]) -> Iterator[Block]:
        """Yield the blocks of a body, a section, a cell, a frame or a note."""
        for element in parent:
            tag = element.tag
            if tag in ("{text}p", "{text}h"):
                yield from self._paragraph(element)
            elif tag == "{text}list":
                yield from self._list(element, 0, "")
            elif tag == "{table}table":
                yield from self._table(element)
            elif tag in SHAPES:
                yield from self._shape(element)
            elif tag in PARTS_OF_TEXT and element.get("{text}display", "true") != "none":
                yield from self.blocks(element)

    def _paragraph(self, element: Element) -> Iterator[Block]:
        """Yield a paragraph or heading, and the text boxes that are anchored in it."""
        style = element.get("{text}style-name", "")
        boxes: list[Element] = []
        text = "" if style in self.hidden else "".join(self._pieces(element, boxes)).strip()
        if element.tag == "{text}h":
            yield heading(text, _integer(element.get("{text}outline-level", ""), 1)) if text else Block("")
        elif "Title" in (style, self.parents.get(style)):
            yield heading(text, 1) if text else Block("")
        else:
            yield Block(text)
        for box in boxes:
            yield from self._shape(box)

    def _pieces(self, parent: Element, boxes: list[Element]) -> Iterator[str]:
        """Yield the pieces of a paragraph's text; text boxes are put aside."""
        yield _spaced(parent.text)
        for element in parent:
            tag = element.tag
            if tag == "{text}s":
                yield " " * min(_integer(element.get("{text}c", ""), 1), MAX_SPACES)
            elif tag == "{text}tab":
                yield " "
            elif tag == "{text}line-break":
                yield "\n"
            elif tag == "{text}note":
                yield self._reference(element)
            elif formula := self._formula(element):
                yield formula
            elif tag in SHAPES or tag == "{draw}g":
                boxes.append(element)
            elif tag not in LEFT_OUT and element.get("{text}style-name", "") not in self.hidden:
                yield from self._pieces(element, boxes)
            yield _spaced(element.tail)

    def _formula(self, frame: Element) -> str:
        """Return the formula in a frame, which is a part of its own or stands in it, "" without one."""
        held = frame.find("{draw}object")
        if held is None:
            return ""
        name = held.get("{xlink}href", "").removeprefix("./")
        formula = held.find("{math}math") if len(held) else self.package.tree(f"{name}/content.xml")
        if formula is None or formula.tag != "{math}math":
            return ""
        written = next(formula.iter("{math}annotation"), None)
        return text_of(formula if written is None else written)

    def _reference(self, note: Element) -> str:
        """Return the mark of a note, and remember the note."""
        body = note.find("{text}note-body")
        if body is None:
            return ""
        self.met.append(body)
        return f"[^{len(self.met)}]"

    def _list(self, element: Element, depth: int, outer_style: str) -> Iterator[Block]:
        """Yield the items of a list and of the lists in it."""
        style = element.get("{text}style-name", outer_style)
        is_numbered = depth + 1 in self.numbered.get(style, set())
        number = 0
        for entry in element:
            if entry.tag not in ("{text}list-item", "{text}list-header"):
                continue
            is_first = entry.tag == "{text}list-item"
            number = _integer(entry.get("{text}start-value", ""), number + 1) if is_first else number
            for part in entry:
                if part.tag == "{text}list":
                    yield from self._list(part, depth + 1, style)
                    continue
                for block in self.blocks([part]):
                    if is_first and part.tag == "{text}p" and block.text:
                        yield item(block.text, depth, number if is_numbered else 0)
                        is_first = False
                    else:
                        yield block

    def _shape(self, element: Element) -> Iterator[Block]:
        """Yield the blocks of a frame with a text box or table, or of a shape with a text."""
        if element.tag != "{draw}frame":
            yield from self.blocks(element)
            return
        for part in element:
            if part.tag == "{draw}text-box":
                yield from self.blocks(part)
            elif part.tag == "{table}table":
                yield from self._table(part)

    def _table(self, element: Element) -> list[Block]:
        """Return a table; one that has a single column lays out its blocks."""
        rows = list(_rows(element))
        if all(len(row) < 2 for row in rows):
            return [block for row in rows for cell in row for block in self.blocks(cell)]
        hidden = _hidden_columns(element)
        return sparse_table(self._line(row, hidden) for row in rows)

    def _line(self, row: Element, hidden: set[int]) -> dict[int, str]:
        """Return the texts of a row's cells by their columns, but of hidden ones."""
        line: dict[int, str] = {}
        column = 0
        for cell in row:
            if cell.tag not in ("{table}table-cell", "{table}covered-table-cell"):
                continue
            text = self._cell(cell)
            times = _integer(cell.get("{table}number-columns-repeated", ""), 1)
            if text:
                line |= dict.fromkeys({*range(column, column + self._bounded(times, 1))} - hidden, text)
            column += times
        return line

    def _bounded(self, times: int, cells: int) -> int:
        """Return how often a cell, or a row of so many, is written that is repeated; all copies of a document are bounded."""
        allowed = 1 + min(max(times - 1, 0), max(MAX_COPIES - self.copies, 0) // cells)
        self.copies += (allowed - 1) * cells
        return allowed

    def _cell(self, cell: Element) -> str:
        """Return the text of a cell; a date as YYYY-MM-DD."""
        date = cell.get("{office}date-value", "") if cell.get("{office}value-type") == "date" else ""
        if date:
            return date.removesuffix("T00:00:00").replace("T", " ")
        return " ".join(block.text for block in self.blocks(cell))

    def _sheets(self, element: Element) -> Iterator[Block]:
        """Yield each sheet that is shown: its name and its tables, which empty rows separate."""
        for sheet in element.iterfind("{table}table"):
            if sheet.get("{table}style-name", "") in self.hidden:
                continue
            name: list[Block] = [heading(sheet.get("{table}name", ""), 2)]
            hidden = _hidden_columns(sheet)
            lines: list[dict[int, str]] = []
            for row in _rows(sheet):
                line = self._line(row, hidden)
                if line:
                    times = _integer(row.get("{table}number-rows-repeated", ""), 1)
                    lines += [line] * self._bounded(times, len(line))
                    continue
                tables = sparse_table(lines)
                yield from name if tables else ()
                yield from tables
                name, lines = [] if tables else name, []
            boxes = [block for block in self.blocks(sheet.iterfind("{table}shapes/*")) if block.text.strip()]
            last = [*sparse_table(lines), *boxes]
            yield from [*name, *last] if last else ()

    def _slides(self, element: Element) -> Iterator[Block]:
        """Yield the slides in order: title, texts, notes."""
        for slide in element.iterfind("{draw}page"):
            if slide.get("{draw}style-name", "") in self.hidden:
                continue
            titles: list[Block] = []
            others: list[Block] = []
            for shape in slide:
                kind = shape.get("{presentation}class", "")
                blocks = list(self.blocks([shape])) if kind not in MARGINS else []
                if kind == "title":
                    text = " ".join(block.text for block in blocks)
                    titles += [heading(text, 2)] if text.strip() else []
                else:
                    others += blocks
            yield from [*titles, *others]
            yield from self._slide_notes(slide)

    def _slide_notes(self, slide: Element) -> Iterator[Block]:
        for frame in slide.iterfind("{presentation}notes/{draw}frame"):
            if frame.get("{presentation}class") == "notes":
                texts = [block.text for block in self._shape(frame) if block.text]
                yield from (Block(f"Notes: {text}" if not number else text) for number, text in enumerate(texts))


def _rows(parent: Element) -> Iterator[Element]:
    """Yield the rows of a table that are shown."""
    for element in parent:
        if element.tag == "{table}table-row" and element.get("{table}visibility", "visible") == "visible":
            yield element
        elif element.tag in SHEET_PARTS:
            yield from _rows(element)


def _hidden_columns(table: Element) -> set[int]:
    """Return the places of the columns of a table that are not shown."""
    hidden: set[int] = set()
    place = 0
    for column in _columns(table):
        times = _integer(column.get("{table}number-columns-repeated", ""), 1)
        if column.get("{table}visibility") in HIDDEN:
            hidden.update(range(place, min(place + times, MAX_COLUMNS)))
        place += times
    return hidden


def _columns(parent: Element) -> Iterator[Element]:
    for element in parent:
        if element.tag == "{table}table-column":
            yield element
        elif element.tag in COLUMN_PARTS:
            yield from _columns(element)


def _spaced(text: str | None) -> str:
    """Return a text with single spaces, as white space of the XML means no more."""
    if not text:
        return ""
    words = " ".join(text.split())
    before = " " if text[0].isspace() else ""
    after = " " if words and text[-1].isspace() else ""
    return f"{before}{words}{after}"


def _integer(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else otherwise
