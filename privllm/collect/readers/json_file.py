"""JSON: an array of objects, or of texts, is a table whose rows are documents; one object with a text is one.

An array may stand alone in an object (`{"data": [...]}`); where its members are texts and the object has others, they are labels
and no rows. A file called .json that holds an object a line is read as JSON lines.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import orjson

from privllm.collect.decode import decode
from privllm.collect.documents import PassedOver, Quarantined, Unreadable
from privllm.collect.readers.jsonl import read_jsonl, shown, text_of
from privllm.collect.readers.reader import Reader, Row, not_opened
from privllm.collect.rows import Rows, key_column
from privllm.collect.source_file import SourceFile

JSON = "application/json"
# What `save_to_disk` of Hugging Face's datasets writes beside the tables.
ABOUT_DATASETS = {"dataset_info.json": "features", "state.json": "_data_files", "dataset_dict.json": "splits"}


class JsonFileReader(Reader):
    """Files of one JSON value."""

    media_types: ClassVar = {".json": JSON}
    holds_many = True

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the rows of a table, or one document, or why there is none."""
        try:
            yield from _rows(file, max_bytes)
        except Unreadable as refusal:
            yield Quarantined(file.source, "", file.size, refusal.reason, refusal.detail)
        except OSError as error:
            yield not_opened(file, error)


def _rows(file: SourceFile, max_bytes: int) -> Iterator[Row]:
    if _holds_lines(file, max_bytes):
        yield from read_jsonl(file, max_bytes)
        return
    if file.size > max_bytes:
        raise Unreadable("too_large", "over collect.max_megabytes: save it as JSON lines (.jsonl), or raise the limit")
    decoded = decode(file.read())
    if not decoded.text.strip():
        raise Unreadable("empty", "nothing but white space")
    try:
        value = orjson.loads(decoded.text)
    except orjson.JSONDecodeError as error:
        raise Unreadable("bad_json", str(error)) from None
    if _is_about_a_dataset(file, value):
        yield PassedOver(file.source)
        return
    items = items_of(value, file.options.text_key)
    if not items:
        raise Unreadable("empty", "an array without members")
    rows = Rows(file, "text/plain", max_bytes)
    for item in items:
        yield _row(rows, item, file.options.text_key, decoded.encoding)


def _row(rows: Rows, item: Any, text_key: str, encoding: str) -> Row:
    if isinstance(item, str):
        return rows.row(item, None, encoding)
    try:
        text = text_of(item, text_key, "row")
    except Unreadable as refusal:
        data = orjson.dumps(item)
        return rows.refused(data, len(data), refusal)
    key = key_column(list(item))
    return rows.row(text, item[key] if key else None, encoding)


def items_of(value: Any, text_key: str) -> list[Any]:
    """Return the rows of a JSON value. Raises `Unreadable` where it is no table and no document."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        arrays = [member for member in value.values() if isinstance(member, list)]
        if text_key not in value and len(arrays) == 1 and not _are_labels(value, arrays[0]):
            return arrays[0]
        if text_key in value:
            return [value]
    names = shown(list(value)) if isinstance(value, dict) else ""
    detail = f"neither an array nor an object with a string under {text_key!r} (collect.text_key)"
    raise Unreadable("no_text", f"{detail}; its keys are {names}" if names else detail)


def _are_labels(value: dict[str, Any], array: list[Any]) -> bool:
    """Return whether texts in an array are labels of an object that has texts of its own, as tags of a page."""
    return any(isinstance(item, str) for item in array) and any(isinstance(member, str) for member in value.values())


def _holds_lines(file: SourceFile, max_bytes: int) -> bool:
    """Return whether a file holds an object a line: its first line is one, and another follows."""
    with file.open() as opened:
        first, second = opened.readline(max_bytes + 1).strip(), b""
        while first and not second and (line := opened.readline(1 << 16)):
            second = line.strip()
    if not (first.startswith(b"{") and first.endswith(b"}") and second.startswith(b"{")):
        return False
    try:
        return isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def _is_about_a_dataset(file: SourceFile, value: Any) -> bool:
    last = file.name.replace("\\", "/").rpartition("/")[2]
    return isinstance(value, dict) and ABOUT_DATASETS.get(last) in value
