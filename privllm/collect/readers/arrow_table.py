"""Tables of Arrow and Parquet, and datasets that Hugging Face's `save_to_disk` wrote: every row is a document.

The text is in the column `collect.text_key`. A table is read batch by batch, and of its columns only the text and the key.
A few bytes can stand for long texts many times, so batches of Parquet are small where values may be long, and values become
texts one by one.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from privllm.collect.allowance import FREE_BYTES, MAX_RATIO
from privllm.collect.documents import Quarantined, Unreadable
from privllm.collect.parquet_footer import LENGTH, MAGIC, TAIL
from privllm.collect.parser_process import parse
from privllm.collect.readers.reader import Reader, Row, not_opened
from privllm.collect.rows import Rows, key_column, require_column
from privllm.collect.source_file import SourceFile

PARQUET, ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"
ARROW_FILE = b"ARROW1"
BATCH_ROWS = 1024
MAX_BATCH_BYTES = 1 << 30
DECODED_BYTES = 256 << 20  # that a batch of Parquet may come to
MAX_CHUNK_BYTES = 2 << 30  # of a column in a row group, unpacked
DAMAGE = (pa.ArrowException, ValueError, OverflowError, MemoryError, EOFError, TypeError, KeyError, UnicodeError)


class ArrowTableReader(Reader):
    """Tables in Parquet, and in Arrow's formats for files and streams."""

    media_types: ClassVar = {".parquet": PARQUET, ".arrow": ARROW, ".feather": ARROW}
    holds_many = True
    signatures = (b"PAR1", ARROW_FILE)

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the rows, and why some, or the rest, are no documents."""
        found = False
        try:
            with file.open() as opened:
                for row in _rows(file, opened, max_bytes):
                    found = True
                    yield row
            if not found:
                raise Unreadable("empty", "a table without rows")
        except Unreadable as refusal:
            yield Quarantined(file.source, "", file.size, refusal.reason, refusal.detail)
        except OSError as error:
            yield not_opened(file, error) if error.errno else _damaged(file, error)
        except DAMAGE as error:
            yield _damaged(file, error)


def _rows(file: SourceFile, opened: BinaryIO, max_bytes: int) -> Iterator[Row]:
    head = opened.read(len(ARROW_FILE))
    opened.seek(0)
    table: pq.ParquetFile | None = None
    batches: Iterator[pa.RecordBatch] = iter(())
    if not head.strip():
        raise Unreadable("empty", "no bytes")
    if head.startswith(b"PAR1"):
        _require_sound_footer(opened, file.size)
        table = pq.ParquetFile(opened)
        names = table.schema_arrow.names
    elif head == ARROW_FILE:
        reader = pa.ipc.open_file(opened)
        names = reader.schema.names
        batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
    else:
        stream = pa.ipc.open_stream(opened)
        names, batches = stream.schema.names, iter(stream)
    text_key = file.options.text_key
    require_column(text_key, names)
    key = key_column(names)
    columns = [text_key, *([key] if key and key != text_key else [])]
    if table:
        batches = _batches_of_parquet(table, columns)
    rows = Rows(file, "text/plain", max_bytes)
    left = max(FREE_BYTES, MAX_RATIO * file.size)
    for batch in batches:
        texts = _texts(batch, text_key)
        keys: Iterator[Any] = repeat(None, batch.num_rows)
        if key:
            keys = _values(batch.column(batch.schema.get_field_index(key)))
        for text, value in zip(texts, keys, strict=True):
            left -= len(text or "")
            if left < 0:
                raise Unreadable("too_much", f"its texts are over {MAX_RATIO} times its size: write them out yourself")
            yield rows.row(text, value)


def _require_sound_footer(opened: BinaryIO, size: int) -> None:
    """Raise `Unreadable` where the list at the end of a file is damaged."""
    opened.seek(max(0, size - TAIL))
    tail = opened.read()
    length = LENGTH.unpack_from(tail)[0] if len(tail) == TAIL and tail.endswith(MAGIC) else size
    if length + TAIL <= size:  # else Arrow says what is wrong
        opened.seek(size - TAIL - length)
        parse("parquet", opened.read(length))
    opened.seek(0)


def _texts(batch: pa.RecordBatch, text_key: str) -> Iterator[Any]:
    """Return a batch's texts. Raises `Unreadable` for a column of another type."""
    column = batch.column(batch.schema.get_field_index(text_key))
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        detail = f"its column {text_key!r} (collect.text_key) holds {kind}, not strings"
        raise Unreadable("no_text", detail)
    if batch.nbytes > MAX_BATCH_BYTES:
        raise Unreadable("too_large", f"a batch of {batch.nbytes:,} bytes: write smaller ones")
    return _values(column)


def _values(column: pa.Array) -> Iterator[Any]:
    """Return a column's values, each made when its turn comes; offsets that a damaged file spoilt are refused first."""
    column.validate(full=True)
    return (value.as_py() for value in column)


def _batches_of_parquet(table: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches that fit the memory, however often a value recurs. Raises `Unreadable`."""
    _require_chunks(table)
    for group in range(table.metadata.num_row_groups):
        rows = _rows_at_once(table, group, columns)
        yield from table.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


def _rows_at_once(table: pq.ParquetFile, group: int, columns: list[str]) -> int:
    """Return how many rows fit the memory were each value as long as all that its column holds in the file."""
    chunks = table.metadata.row_group(group)
    longest = 1
    for chunk in (chunks.column(place) for place in range(chunks.num_columns)):
        name = chunk.path_in_schema
        # A value of a dictionary is in the memory once.
        if name in columns and not pa.types.is_dictionary(table.schema_arrow.field(name).type):
            longest = max(longest, chunk.total_uncompressed_size)
    return min(max(DECODED_BYTES // longest, 1), BATCH_ROWS)


def _require_chunks(table: pq.ParquetFile) -> None:
    """Raise `Unreadable` where one column of a row group would fill the memory."""
    metadata = table.metadata
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        for column in range(chunks.num_columns):
            size = chunks.column(column).total_uncompressed_size
            if size > MAX_CHUNK_BYTES:
                raise Unreadable("too_large", f"a column of {size:,} bytes in a row group: write smaller groups")


def _damaged(file: SourceFile, error: Exception) -> Quarantined:
    return Quarantined(file.source, "", file.size, "damaged", str(error)[:200] or type(error).__name__)
