"""The text of an Excel workbook as light Markdown: each sheet a heading and its tables, with values instead of formulas.

Sheets are read as a stream, as they may be large. Hidden sheets, rows and columns, comments,
charts and errors ("#N/A") are left out. An empty row ends a table.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from xml.etree.ElementTree import Element

from privllm.collect.drawing_text import text_boxes
from privllm.collect.markdown_blocks import Block, heading, joined, sparse_table
from privllm.collect.office_package import Package, properties
from privllm.collect.parsed import NoText, Parsed

DATE_FORMATS = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}  # of those that are built in
TIME_FORMATS = {18, 19, 20, 21, 45, 46, 47}
SPAN_FORMAT, SPAN = 46, re.compile(r"\[h+\]|\[m+\]|\[s+\]", re.IGNORECASE)
ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")  # of a character in a text (ST_Xstring)
LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')  # in a format, what is no code
LETTERS = re.compile("[A-Z]{1,3}")
TEXTS = ("s", "str", "inlineStr")  # types of cells
MAX_COLUMN = 16_384
EPOCH = datetime(1899, 12, 30)
DAYS_BETWEEN_EPOCHS = 1462  # 1900 and 1904
FALSE_LEAP_DAY = 60  # 29 February 1900, which Excel counts
MAX_DAY = 2_958_466  # of the year 9999


class Styles(NamedTuple):
    """Which cell styles are dates, and which of these only times of day."""

    dates: set[int]
    times: set[int]
    spans: set[int]  # of hours beyond a day, which are no dates
    first_day: int  # to be added to the number of a day


def xlsx_text(package: Package) -> Parsed:
    """Return the text of a workbook. Raises `NoText`."""
    part = package.main_part("xl/workbook.xml")
    if part.endswith(".bin"):
        raise NoText("unsupported", "a binary workbook: save it as .xlsx")
    tree = package.tree(part)
    if tree is None:
        raise NoText("damaged", f"it lacks {part}")
    related = package.related(part)
    targets = dict(related.values())
    own = tree.find("{s}workbookPr")
    is_1904 = own is not None and own.get("date1904", "0") in ("1", "true")
    styles = _styles(package.tree(targets.get("styles", "")), DAYS_BETWEEN_EPOCHS if is_1904 else 0)
    strings = _strings(package.tree(targets.get("sharedStrings", "")))
    blocks: list[Block] = []
    for sheet in tree.iterfind("{s}sheets/{s}sheet"):
        kind, target = related.get(sheet.get("{r}id", ""), ("", ""))
        if kind == "worksheet" and sheet.get("state", "visible") == "visible":
            package.require(target)
            tables = [*_tables(_Sheet(package, target, strings, styles).rows), *_boxes(package, target)]
            blocks += [heading(sheet.get("name", ""), 2), *tables] if tables else []
    return Parsed(joined(blocks), *properties(package))


def _boxes(package: Package, sheet: str) -> Iterator[Block]:
    """Yield the text boxes of a sheet."""
    for kind, target in package.related(sheet).values():
        yield from text_boxes(package.tree(target)) if kind == "drawing" else ()


def _tables(rows: list[tuple[int, dict[int, str]]]) -> Iterator[Block]:
    """Yield the tables of a sheet, which empty rows separate."""
    block: list[dict[int, str]] = []
    before = 0
    for number, cells in rows:
        if block and number > before + 1:
            yield from _table(block)
            block = []
        block.append(cells)
        before = number
    yield from _table(block)


def _table(rows: list[dict[int, str]]) -> list[Block]:
    """Return a table; one that has a single column is its texts."""
    if len(set().union(*rows)) == 1:
        return [Block(text) for cells in rows for text in cells.values()]
    return sparse_table(rows)


class _Sheet:
    """The rows of a sheet that hold something: number and {column: text}."""

    def __init__(self, package: Package, part: str, strings: list[str], styles: Styles) -> None:
        self.rows: list[tuple[int, dict[int, str]]] = []
        self._short, self._strings, self._styles = package.short, strings, styles
        self._hidden_columns = bytearray(MAX_COLUMN + 1)  # 1 where a column is hidden
        self._row, self._column = 0, 0
        self._cells: dict[int, str] = {}
        self._is_hidden = False
        self._kind, self._style = "n", 0
        self._is_text, self._is_phonetic = False, False
        self._pieces: list[str] = []
        package.feed(part, self._start, self._end, self._data)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = self._short(name)
        if tag == "{s}c":
            self._column = _column(attributes.get("r", ""), self._column)
            self._kind, self._style = attributes.get("t", "n"), _integer(attributes.get("s", ""))
            self._pieces = []
        elif tag in ("{s}v", "{s}t"):
            self._is_text = not self._is_phonetic
        elif tag == "{s}row":
            self._row = _integer(attributes.get("r", "")) or self._row + 1
            self._column, self._cells = 0, {}
            self._is_hidden = attributes.get("hidden", "0") in ("1", "true")
        elif tag == "{s}rPh":
            self._is_phonetic = True
        elif tag == "{s}col" and attributes.get("hidden", "0") in ("1", "true"):
            first, last = _integer(attributes.get("min", "")), min(_integer(attributes.get("max", "")), MAX_COLUMN)
            self._hidden_columns[first : last + 1] = b"\1" * (last + 1 - first)

    def _data(self, text: str) -> None:
        if self._is_text:
            self._pieces.append(text)

    def _end(self, name: str) -> None:
        tag = self._short(name)
        if tag == "{s}c":
            if self._pieces and not self._hidden_columns[min(self._column, MAX_COLUMN)]:
                self._keep("".join(self._pieces))
        elif tag in ("{s}v", "{s}t"):
            self._is_text = False
        elif tag == "{s}row":
            if self._cells and not self._is_hidden:
                self.rows.append((self._row, self._cells))
        elif tag == "{s}rPh":
            self._is_phonetic = False

    def _keep(self, value: str) -> None:
        """Keep the value of a cell, as people read it."""
        if self._kind == "s":
            number = _integer(value)
            if number >= len(self._strings):
                raise NoText("damaged", f"a cell names text {number} of {len(self._strings)} that its sheets share")
            value = self._strings[number]
        elif self._kind == "b":
            value = "TRUE" if value == "1" else "FALSE"
        elif self._kind == "e":
            value = ""
        elif self._kind == "n":
            value = self._number(value)
        if self._kind in TEXTS and "_x" in value:
            value = ESCAPE.sub(lambda found: _escaped(int(found[1], 16)), value)
        if value.strip():
            self._cells[self._column] = value

    def _number(self, value: str) -> str:
        """Return a number, or the date that it stands for."""
        try:
            number = float(value)
        except ValueError:
            return value
        if self._style in self._styles.spans and 0 <= number < MAX_DAY:
            return _span(number)
        if self._style in self._styles.dates:
            return _date(number, self._styles.first_day, self._style in self._styles.times) or value
        return value if value.isdecimal() else f"{number:.15g}"


def _strings(tree: Element | None) -> list[str]:
    """Return the texts that the cells share, without readings of their characters."""
    strings: list[str] = []
    for element in tree if tree is not None else ():
        pieces: list[str] = []
        for child in element:
            if child.tag == "{s}t":
                pieces.append(child.text or "")
            elif child.tag == "{s}r":
                pieces += [text.text or "" for text in child.iterfind("{s}t")]
        strings.append("".join(pieces))
    return strings


def _styles(tree: Element | None, first_day: int) -> Styles:
    """Return which styles of cells show dates."""
    dates: set[int] = set()
    times: set[int] = set()
    spans: set[int] = set()
    if tree is None:
        return Styles(dates, times, spans, first_day)
    codes = {
        _integer(form.get("numFmtId", "")): form.get("formatCode", "") for form in tree.iterfind("{s}numFmts/{s}numFmt")
    }
    for number, style in enumerate(tree.iterfind("{s}cellXfs/{s}xf")):
        form = _integer(style.get("numFmtId", ""))
        if form == SPAN_FORMAT if form not in codes else SPAN.search(codes[form]):
            spans.add(number)
        letters = set(LITERAL.sub("", codes.get(form, "")).lower())
        if (
            form in DATE_FORMATS
            if form not in codes
            else letters & set("dyhs") and "general" not in codes[form].lower()
        ):
            dates.add(number)
            if form in TIME_FORMATS if form not in codes else not letters & set("dy"):
                times.add(number)
    return Styles(dates, times, spans, first_day)


def _escaped(code: int) -> str:
    """Return the character of an escape, "" for a control character or half a character."""
    return chr(code) if code in (9, 10) or (code >= 32 and not 0xD800 <= code < 0xE000) else ""


def _span(days: float) -> str:
    """Return a span of time as hours, minutes and seconds."""
    minutes, seconds = divmod(round(days * 86_400), 60)
    return f"{minutes // 60}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")


def _date(number: float, first_day: int, is_time: bool) -> str:
    """Return the date of a day's number, with its time where it has one; "" where there is none."""
    day = number + first_day
    if not 0 <= day < MAX_DAY:
        return ""
    if 0 < day < FALSE_LEAP_DAY and not first_day:
        day += 1
    moment = EPOCH + timedelta(seconds=round(day * 86_400))
    time = f"{moment:%H:%M}" if not moment.second else f"{moment:%H:%M:%S}"
    if is_time:
        return time
    return f"{moment:%Y-%m-%d}" if time == "00:00" else f"{moment:%Y-%m-%d} {time}"


def _column(reference: str, before: int) -> int:
    """Return the column of a cell such as "AB12", from 1; the next one where it has no reference."""
    letters = LETTERS.match(reference)
    if letters is None:
        return before + 1
    column = 0
    for letter in letters[0]:
        column = column * 26 + ord(letter) - ord("A") + 1
    return min(column, MAX_COLUMN)


def _integer(text: str) -> int:
    """Return a number below 100 million, 0 where the text is none."""
    return int(text) if text.isdecimal() and len(text) < 9 else 0
