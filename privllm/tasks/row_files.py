"""Rows of a dataset's file, one by one, with their places: JSON Lines, a JSON array, CSV, TSV, Parquet.

    .csv, .tsv    the first line names the columns; cells are quoted as Excel and pandas do
    .json         an array of objects; an object with it as "data" (SQuAD's articles, too) and, for labels that are numbers, "names";
                  or JSON Lines
    .parquet      names of classes are taken from the metadata that Hugging Face's `datasets` writes
    others        JSON Lines

A row that holds no object is yielded as the fault that it is. UserError is raised where what follows cannot be read either: a file that is
missing, too large, in UTF-16, of CSV with a quote that does not close.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from privllm.core.csv_limit import cells_up_to
from privllm.core.errors import UserError
from privllm.tasks.line_faults import InvalidLine, error_at

MAX_FILE_BYTES = 2 << 30
MAX_LINE_BYTES = 4 << 20
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON, PARQUET = ".json", ".parquet"
BATCH = 1024  # rows of Parquet at once

Placed = tuple[
    int, Any
]  # number of the line or row, from 1; its value, None for a blank one, or the InvalidLine that it is
Names = Mapping[str, tuple[str, ...]]  # names of the numbers in a column


@dataclass(frozen=True)
class RowFile:
    """A file of rows, which can be gone through several times."""

    path: Path
    unit: str  # what `numbers` count: "line" or "row"
    names: Names = field(default_factory=dict)
    values: Sequence[Any] | None = None  # of a file that is read as a whole

    @property
    def is_table(self) -> bool:
        """Return whether all its values are texts, so that a number is digits."""
        return self.path.suffix.lower() in DELIMITERS

    def __iter__(self) -> Iterator[Placed]:
        suffix = self.path.suffix.lower()
        if self.is_table:
            return _table_rows(self.path, DELIMITERS[suffix])
        if suffix == PARQUET:
            return _parquet_rows(self.path)
        if self.values is not None:
            return _numbered(self.values)
        return _json_lines(self.path)


def open_rows(path: Path) -> RowFile:
    """Return the file. Raises UserError for one that is missing, too large, or of no such format."""
    _check_file(path)
    suffix = path.suffix.lower()
    if suffix == PARQUET:
        return RowFile(path, "row", _parquet_names(path))
    if suffix == JSON and not _is_json_lines(path):
        values, names = _whole_json(path)
        return RowFile(path, "row", names, values)
    return RowFile(path, "line")


def parse(line: bytes) -> Any:
    """Return a line's JSON value. Raises InvalidLine."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as broken:
            fault = f"byte {broken.start + 1} is not UTF-8; save the file as UTF-8"
            raise InvalidLine(fault, "not_utf8") from None
        raise InvalidLine(f"it is not JSON ({error})", "not_json") from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing: put the dataset there, or name another file under `data` in params.yaml.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UserError(f"{path} has {size:,} bytes; a dataset may have {MAX_FILE_BYTES:,}: cut it down.")
    with path.open("rb") as file:
        if file.read(2) in UTF16:
            raise UserError(f"{path} is in UTF-16: save it as UTF-8.")


def _lines(path: Path) -> Iterator[tuple[int, bytes | InvalidLine]]:
    """Yield (number, bytes) of each line, or the fault of one that is too long."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) <= MAX_LINE_BYTES:
                yield number, line.removeprefix(BOM) if number == 1 else line
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield number, InvalidLine(f"it is longer than {MAX_LINE_BYTES:,} bytes", "too_long")


def _json_lines(path: Path) -> Iterator[Placed]:
    for number, line in _lines(path):
        if isinstance(line, InvalidLine):
            yield number, line
        elif not line.strip():
            yield number, None
        else:
            yield number, _parsed(line)


def _parsed(line: bytes) -> Any:
    """Return a line's object, or the fault."""
    try:
        value = parse(line)
    except InvalidLine as fault:
        return fault
    return _object(value)


def _object(value: Any) -> Any:
    return value if isinstance(value, dict | InvalidLine) else InvalidLine("it must be a JSON object", "wrong_type")


def _numbered(values: Sequence[Any]) -> Iterator[Placed]:
    for number, value in enumerate(values, 1):
        yield number, _object(value)


def _is_json_lines(path: Path) -> bool:
    """Return whether the first line with something in it is an object by itself, but not a file's single one with "data"."""
    for _, line in _lines(path):
        if isinstance(line, bytes) and not line.strip():
            continue
        value = _parsed(line) if isinstance(line, bytes) else line
        return isinstance(value, dict) and not isinstance(value.get("data"), list)
    return True  # an empty file


def _whole_json(path: Path) -> tuple[list[Any], Names]:
    """Return the rows of a JSON file, and the names of the numbers in any of its columns."""
    try:
        value = orjson.loads(path.read_bytes().removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path} is neither a JSON array nor JSON Lines ({error}): write it again, as UTF-8.") from None
    if isinstance(value, list):
        return value, {}
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        return [value], {}
    names = value.get("names")
    rows = [question for article in value["data"] for question in _questions(article)]
    return rows, {"": tuple(map(str, names))} if isinstance(names, list) else {}


def _questions(article: Any) -> Iterator[Any]:
    """Yield the questions of an article as SQuAD nests them, each with its context; any other row as it is."""
    if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
        yield article
        return
    for paragraph in article["paragraphs"]:
        questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(questions, list):
            yield InvalidLine("it is a paragraph of SQuAD without its list of questions (qas)", "wrong_type")
            continue
        for question in questions:
            yield {**question, "context": paragraph.get("context")} if isinstance(question, dict) else question


def _table_rows(path: Path, delimiter: str) -> Iterator[Placed]:
    """Yield the rows of CSV, by the lines on which they begin."""
    with cells_up_to(MAX_LINE_BYTES):
        yield from _rows_of(path, csv.reader(_texts(path), delimiter=delimiter, strict=True))


def _rows_of(path: Path, reader: Any) -> Iterator[Placed]:
    header: list[str] = []
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = f"its quotes or cells cannot be told apart ({error}); write a quote within a cell twice, and the cell in quotes"
            raise error_at(path, number, fault) from None
        if not header:
            header = _header(path, cells)
        elif not cells:
            yield number, None
        elif len(cells) != len(header):
            yield number, InvalidLine(f"it has {len(cells)} cells, but there are {len(header)} columns", "wrong_cells")
        else:
            yield number, dict(zip(header, cells, strict=True))


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) < len(names):
        raise error_at(path, 1, "two columns have one name")
    return names


def _texts(path: Path) -> Iterator[str]:
    """Yield the lines of a table. Raises UserError for one that is too long, or not UTF-8: cells may go over several lines."""
    for number, line in _lines(path):
        if isinstance(line, InvalidLine):
            raise error_at(path, number, str(line))
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as broken:
            fault = f"byte {broken.start + 1} is not UTF-8; save the file as UTF-8"
            raise error_at(path, number, fault) from None


def _parquet_rows(path: Path) -> Iterator[Placed]:
    with _parquet(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is not Parquet, or it is damaged ({error}): write it again.") from None


def _parquet_names(path: Path) -> Names:
    """Return the names of the columns of classes, as `datasets` writes them into the schema's metadata."""
    with _parquet(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    named = {}
    for column, feature in features.items():
        names = _class_names(feature)
        if names:
            named[column] = names
    return named


def _class_names(feature: Any) -> tuple[str, ...]:
    """Return the names of a ClassLabel, or of a list of them."""
    if isinstance(feature, list):
        feature = feature[0] if feature else {}
    if not isinstance(feature, dict):
        return ()
    if isinstance(feature.get("names"), list):
        return tuple(feature["names"])
    return _class_names(feature.get("feature"))
