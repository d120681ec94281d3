"""Parquet, Arrow and datasets on disk: rows are documents."""

import io
import tracemalloc
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.readers import arrow_table
from privllm.core.seed import digest
from tests.collect.readers.test_archive import reasons_of, texts_of

LIMIT = 500
MEGABYTE = 1 << 20
TABLE = pa.table({"id": [1, 2, None], "other": [b"x", b"y", b"z"], "text": ["one", "größer", "three"]})
READ = {"#1": "one", "#2": "größer", f"#{digest(b'three')}": "three"}


def written(table: pa.Table, kind: str) -> bytes:
    made = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, made, row_group_size=2)
        return made.getvalue()
    writer = pa.ipc.new_stream(made, table.schema) if kind == "arrow" else pa.ipc.new_file(made, table.schema)
    with writer:
        writer.write_table(table, max_chunksize=2)
    return made.getvalue()


def rows_of(tmp_path: Path, data: bytes, kind: str) -> list[CollectedDocument | Quarantined]:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    return list(read_file(path, tmp_path, LIMIT))


KINDS = pytest.mark.parametrize("kind", ["parquet", "arrow", "feather"])


@KINDS
@pytest.mark.parametrize("column", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_rows_are_documents(tmp_path: Path, kind: str, column: pa.DataType) -> None:
    table = TABLE.set_column(2, "text", TABLE["text"].cast(column))
    rows = rows_of(tmp_path, written(table, kind), kind)
    assert texts_of(rows) == {f"a.{kind}{key}": text for key, text in READ.items()}
    assert {row.encoding for row in rows if isinstance(row, CollectedDocument)} == {"utf-8"}


@KINDS
def test_a_table_without_texts_says_what_it_has(tmp_path: Path, kind: str) -> None:
    for table, said in (
        (TABLE.rename_columns(["id", "other", "body"]), "no column 'text', but id, other, body"),
        (TABLE.rename_columns(["text", "other", "body"]), "holds int64, not strings"),
    ):
        (row,) = rows_of(tmp_path, written(table, kind), kind)
        assert isinstance(row, Quarantined)
        assert row.reason == "no_text"
        assert said in row.detail


@KINDS
def test_rows_are_refused_by_themselves(tmp_path: Path, kind: str) -> None:
    table = pa.table({"key": ["a", "b", "c"], "text": [None, "x" * (LIMIT + 1), "fine"]})
    rows = rows_of(tmp_path, written(table, kind), kind)
    assert reasons_of(rows) == {f"a.{kind}#a": "empty", f"a.{kind}#b": "too_large"}
    assert texts_of(rows) == {f"a.{kind}#c": "fine"}
    assert reasons_of(rows_of(tmp_path, written(TABLE.slice(0, 0), kind), kind)) == {f"a.{kind}": "empty"}


@KINDS
def test_damaged_tables_are_refused(tmp_path: Path, kind: str) -> None:
    data = written(TABLE, kind)
    random = Random(5)
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(random.randint(1, 6)):
            broken[random.randrange(len(broken))] = random.randrange(256)
        rows = rows_of(tmp_path, bytes(broken[: random.choice([len(broken), random.randint(1, len(broken))])]), kind)
        assert all(row.source.startswith(f"a.{kind}") for row in rows)
        assert rows


def test_columns_and_batches_that_would_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_table, "MAX_CHUNK_BYTES", 10)
    assert reasons_of(rows_of(tmp_path, written(TABLE, "parquet"), "parquet")) == {"a.parquet": "too_large"}
    monkeypatch.setattr(arrow_table, "MAX_BATCH_BYTES", 10)
    assert reasons_of(rows_of(tmp_path, written(TABLE, "arrow"), "arrow")) == {"a.arrow": "too_large"}


def test_a_table_that_unpacks_to_too_much_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet writes a text that recurs once."""
    monkeypatch.setattr(arrow_table, "FREE_BYTES", 1000)
    monkeypatch.setattr(arrow_table, "MAX_RATIO", 2)
    made = io.BytesIO()
    pq.write_table(pa.table({"text": ["y" * 400] * 1000}), made)
    data = made.getvalue()
    rows = rows_of(tmp_path, data, "parquet")
    assert reasons_of(rows) == {"a.parquet": "too_much"}
    assert 0 < len(texts_of(rows)) <= max(1000, 2 * len(data)) / 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "is_dictionary"), [("RLE_DICTIONARY", True), ("RLE_DICTIONARY", False), ("DELTA_BYTE_ARRAY", False)]
)
def test_a_long_text_many_times_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, is_dictionary: bool
) -> None:
    monkeypatch.setattr(arrow_table, "DECODED_BYTES", 8 * MEGABYTE)
    column = pa.array(1024 * ["x" * MEGABYTE], pa.large_string())
    column = column.dictionary_encode() if is_dictionary else column
    own = {"use_dictionary": False, "column_encoding": {"text": encoding}} if encoding.startswith("DELTA") else {}
    made = io.BytesIO()
    pq.write_table(pa.table({"text": column}), made, compression="zstd", **own)
    del column
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        rows = rows_of(tmp_path, made.getvalue(), "parquet")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert len(made.getvalue()) < MEGABYTE
    assert reasons_of(rows)["a.parquet"] == "too_much"
    assert most < 32 * MEGABYTE
    assert pool.max_memory() < 64 * MEGABYTE
