"""Tables as text (CSV, TSV): every row is a document, its text in the column `collect.text_key`.

The first row names the columns. What separates them is found out from the first rows. At most one
row is in memory, and a row that is too long is refused by itself.
"""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, ClassVar

from privllm.collect.decode import MARKS, WIDE, Decoded, decode, strict
from privllm.collect.documents import Quarantined, Unreadable
from privllm.collect.readers.jsonl import PROBE_BYTES, encoding_of
from privllm.collect.readers.reader import TOO_LARGE, Reader, Row, not_opened
from privllm.collect.rows import Rows, key_column, require_column
from privllm.collect.source_file import SourceFile
from privllm.core.csv_limit import cells_up_to

DELIMITERS = ",;\t|"
ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # that is not UTF-8
SEPARATOR = re.compile(r'"?sep=([^"\r\n])"?\r?\n?', re.IGNORECASE)  # Excel's line before the names of the columns
END = "\udfff"  # a line behind the last, of what no encoding gives: a row that holds it has an open quotation
SNIFFED_ROWS = 20
SKIPPED = 1 << 20  # characters
SNIFFED_CHARACTERS = 1 << 16
SNIFFED_FIELD = 1 << 17  # characters, the standard library's limit


class CsvTableReader(Reader):
    """Tables in CSV and TSV."""

    media_types: ClassVar = {".csv": "text/csv", ".tsv": "text/tab-separated-values"}
    holds_many = True

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the rows, and why some, or all, are no documents."""
        try:
            with file.open() as opened:
                yield from _rows(file, opened, max_bytes)
        except Unreadable as refusal:
            yield Quarantined(file.source, "", file.size, refusal.reason, refusal.detail)
        except OSError as error:
            yield not_opened(file, error)


def _rows(file: SourceFile, opened: BinaryIO, max_bytes: int) -> Iterator[Row]:
    encoding, text = _text_of(opened)
    with text:
        lines = _Lines(text, max_bytes)
        delimiter, _ = _delimiter(lines, file.options.text_key)
        with cells_up_to(max_bytes):
            yield from _documents(file, lines, delimiter, encoding, max_bytes)


def _text_of(opened: BinaryIO) -> tuple[str, io.TextIOWrapper]:
    """Return the encoding of a file, and its text behind a byte order mark. Raises `Unreadable` where it is none."""
    head = opened.read(PROBE_BYTES)
    encoding = encoding_of(head)
    _require_text_file(head)
    opened.seek(len(_mark_of(head)))
    codec, faults = (encoding, "replace") if encoding in WIDE else ("utf-8", "surrogateescape")
    return encoding, io.TextIOWrapper(opened, codec, faults, newline="")


def _mark_of(head: bytes) -> bytes:
    return next((mark for mark, _ in MARKS if head.startswith(mark)), b"")


def raw_rows(opened: BinaryIO, max_bytes: int, text_key: str) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of each row with the number of its document, from 0; -1 for the names of the columns and for blank rows."""
    mark = _mark_of(opened.read(PROBE_BYTES))
    opened.seek(0)
    _, text = _text_of(opened)
    number, is_first, recorded = -1, True, _Recorded(_Lines(text, max_bytes))
    delimiter, line = _delimiter(recorded.lines, text_key)
    table = csv.reader(recorded, delimiter=delimiter)
    try:
        with cells_up_to(max_bytes):
            yield -1, mark + line.encode(text.encoding, text.errors or "strict")
            for row in table:
                number += bool(row) and not is_first
                data = "".join(recorded.taken).encode(text.encoding, text.errors or "strict")
                yield number if row and not is_first else -1, data
                recorded.taken.clear()
                is_first = False
    finally:
        text.detach()


def _documents(file: SourceFile, lines: "_Lines", delimiter: str, encoding: str, max_bytes: int) -> Iterator[Row]:
    table = csv.reader(chain(lines, [END]), delimiter=delimiter)
    try:
        first_row = next(table)
    except StopIteration:
        raise Unreadable("empty", "no rows") from None
    except (csv.Error, _TooLong):
        raise Unreadable("too_large", TOO_LARGE) from None
    if first_row == [END]:
        raise Unreadable("empty", "no rows")
    if first_row and first_row[-1].endswith(END):  # asked first, for no encoding has this character
        raise Unreadable("damaged", "a quotation in its first row has no end")
    names = [_decoded(name, encoding).text.strip() for name in first_row]
    if not any(names):
        raise Unreadable("empty", "the first row names no columns")
    require_column(file.options.text_key, names)
    text_place = names.index(file.options.text_key)
    key_name = key_column(names)
    key_place = names.index(key_name) if key_name else -1
    rows = Rows(file, "text/plain", max_bytes)
    found = False
    while True:
        lines.begin_row()
        line = table.line_num + 1
        try:
            row = next(table)
        except StopIteration:
            break
        except (csv.Error, _TooLong):
            found = True
            lines.skip_row()
            yield rows.refused(lines.last.encode("utf-8", "replace"), lines.size, Unreadable("too_large", TOO_LARGE))
            continue
        if not row or row == [END]:
            continue
        found = True
        try:
            row = _fitting(row, len(names), delimiter, line, table.line_num)
        except Unreadable as refusal:
            data = delimiter.join(row).encode("utf-8", "replace")
            yield rows.refused(data, len(data), refusal)
            continue
        text = row[text_place] if text_place < len(row) else ""
        key = row[key_place] if 0 <= key_place < len(row) else None
        yield _document(rows, text, key, encoding)
    if not found:
        raise Unreadable("empty", "no rows below the names of the columns")


def _fitting(row: list[str], columns: int, delimiter: str, first_line: int, last_line: int) -> list[str]:
    """Return the values of a row, all of them as the text of a table of one column. Raises `Unreadable`."""
    if row[-1].endswith(END):
        lost = last_line - first_line - 1
        raise Unreadable(
            "damaged", f"a quotation that begins in line {first_line} has no end: it holds {lost} lines below"
        )
    if columns == 1:
        return [delimiter.join(row)]
    if any(row[columns:]):
        detail = f"{len(row)} values for {columns} columns in line {first_line}: quote those that hold {delimiter!r}"
        raise Unreadable("damaged", detail)
    return row


def _document(rows: Rows, text: str, key: str | None, encoding: str) -> Row:
    """Return a row; what is not UTF-8 is of the file's encoding, or of its own."""
    try:
        decoded = _decoded(text, encoding)
        name = _decoded(key, encoding).text if key else None
    except Unreadable as refusal:
        data = text.encode("utf-8", "surrogateescape")
        return rows.refused(data, len(data), refusal)
    return rows.row(decoded.text, name, decoded.encoding)


def _decoded(value: str, encoding: str) -> Decoded:
    """Return a value that was read as UTF-8, or of a wide encoding. Raises `Unreadable`."""
    if encoding in WIDE or not ESCAPED_BYTE.search(value):
        return Decoded(value, encoding if encoding in WIDE else "utf-8")
    data = value.encode("utf-8", "surrogateescape")
    text = strict(data, encoding)
    return decode(data) if text is None else Decoded(text, encoding)


def _require_text_file(head: bytes) -> None:
    """Raise `Unreadable` where the first bytes are no text."""
    try:
        decode(head[:SNIFFED_CHARACTERS])
    except Unreadable as refusal:
        if refusal.reason == "binary":
            raise


def _delimiter(lines: "_Lines", text_key: str) -> tuple[str, str]:
    """Return what separates the columns, and the line that says so, which is taken off; "" where none does."""
    said = SEPARATOR.fullmatch(lines.first)
    if said:
        return said[1], next(lines)
    return delimiter_of(lines.peek(), text_key), ""


def delimiter_of(head: str, text_key: str) -> str:
    """Return what separates the columns: what names `text_key` first, else what gives most rows the same number of columns."""
    best, best_score = ",", (False, 0, 0)
    for delimiter in DELIMITERS:
        rows: list[list[str]] = []
        table = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
        try:
            for row in table:
                rows.append(row)
                if len(rows) > SNIFFED_ROWS:
                    break
        except csv.Error:
            pass
        if not rows:
            continue
        names = [name.strip() for name in rows[0]]
        alike = sum(len(row) == len(names) for row in rows) if len(names) > 1 else 0
        score = (text_key in names, alike, len(names))
        if score > best_score:
            best, best_score = delimiter, score
    return best


class _TooLong(Exception):
    """A row of more characters than are allowed."""


class _Lines:
    """The lines of a text; one that is too long, and all lines of a row that is, raise `_TooLong`."""

    def __init__(self, text: io.TextIOWrapper, limit: int) -> None:
        self.text, self.limit = text, limit
        self.size = self.quotes = 0  # characters, and quotation marks among them, since a row began
        self.last = ""  # cut to the limit
        self.first = text.readline(limit + 1)
        self._ahead = [self.first] if self.first else []

    def peek(self) -> str:
        """Return the first lines."""
        size = len(self.first)
        while size < SNIFFED_CHARACTERS and len(self._ahead) <= SNIFFED_ROWS and size <= self.limit:
            line = self.text.readline(self.limit + 1)
            if not line:
                break
            self._ahead.append(line)
            size += len(line)
        return "".join(self._ahead)[:SNIFFED_CHARACTERS]

    def begin_row(self) -> None:
        """Count from here."""
        self.size = self.quotes = 0

    def skip_row(self) -> None:
        """Read on to the end of a row: a line's end outside of quotation marks."""
        while self.quotes % 2 and (line := self._readline(SKIPPED)):
            self._count(line)

    def _readline(self, limit: int) -> str:
        return self._ahead.pop(0) if self._ahead else self.text.readline(limit)

    def _count(self, piece: str) -> None:
        self.size += len(piece)
        self.quotes += piece.count('"')

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        self.last = self._readline(self.limit + 1)
        if not self.last:
            raise StopIteration
        self._count(self.last)
        if len(self.last) > self.limit:
            piece = self.last
            while piece and not piece.endswith(("\n", "\r")):
                piece = self.text.readline(SKIPPED)
                self._count(piece)
        if self.size > 2 * self.limit or len(self.last) > self.limit:
            raise _TooLong
        return self.last


class _Recorded:
    """Lines, with a record of those that a row takes."""

    def __init__(self, lines: _Lines) -> None:
        self.lines = lines
        self.taken: list[str] = []

    def __iter__(self) -> "_Recorded":
        return self

    def __next__(self) -> str:
        self.lines.begin_row()
        line = next(self.lines)
        self.taken.append(line)
        return line
