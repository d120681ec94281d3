"""Tables: equal rows give equal bytes, and a reader never sees half a file."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.tables import by_id, iterate_rows, read_folder, shards_of, write_table

SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int32())])


@given(rows=st.lists(st.tuples(st.text(max_size=5), st.integers(0, 99)), max_size=20), cut=st.integers(0, 20))
def test_bytes_do_not_depend_on_chunks(tmp_path_factory, rows, cut) -> None:
    folder = tmp_path_factory.mktemp("tables")
    whole = pa.table([[a for a, _ in rows], [b for _, b in rows]], schema=SCHEMA)
    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    write_table(whole, folder / "whole.parquet")
    write_table(pieces, folder / "pieces.parquet")
    assert (folder / "whole.parquet").read_bytes() == (folder / "pieces.parquet").read_bytes()


def test_round_trip_in_shard_order(tmp_path: Path) -> None:
    for name, values in (("00001", [3]), ("00000", [1, 2])):
        write_table(pa.table([[str(v) for v in values], values], schema=SCHEMA), tmp_path / f"{name}.parquet")
    assert [path.name for path in shards_of(tmp_path)] == ["00000.parquet", "00001.parquet"]
    assert read_folder(tmp_path, ["n"]).column("n").to_pylist() == [1, 2, 3]
    assert [row["id"] for row in iterate_rows(tmp_path)] == ["1", "2", "3"]


def test_an_empty_table_keeps_its_schema(tmp_path: Path) -> None:
    write_table(SCHEMA.empty_table(), tmp_path / "a.parquet")
    assert read_folder(tmp_path).schema == SCHEMA


def test_a_table_whose_writing_dies_is_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep/a.parquet"
    table = pa.table([["x"], [1]], schema=SCHEMA)

    def full_disk(table: pa.Table, target: Path, **options: object) -> None:
        target.write_bytes(b"PAR1 half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("privllm.core.tables.pq.write_table", full_disk)
        with pytest.raises(OSError, match="No space"):
            write_table(table, path)
        assert shards_of(path.parent) == []
    write_table(table, path)
    assert [file.name for file in path.parent.iterdir()] == ["a.parquet"], "what was left half written is overwritten"
    whole = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("privllm.core.tables.pq.write_table", full_disk)
        with pytest.raises(OSError, match="No space"):
            write_table(table.slice(0, 0), path)
    assert path.read_bytes() == whole


def test_rows_in_the_order_of_their_ids() -> None:
    table = by_id(pa.table([["b", "c", "a"], [1, 2, 3]], schema=SCHEMA))
    assert table.to_pylist() == [{"id": "a", "n": 3}, {"id": "b", "n": 1}, {"id": "c", "n": 2}]
    assert by_id(SCHEMA.empty_table()) == SCHEMA.empty_table()


def test_row_groups_follow_the_size_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a reader of batches holds some megabytes, whatever the rows are."""
    monkeypatch.setattr("privllm.core.tables.ROW_GROUP_BYTES", 1000)
    for length, groups in ((2, 2), (984, 100)):  # a row's bytes: its text, and eight for each column
        write_table(pa.table([["x" * length] * 100, range(100)], schema=SCHEMA), tmp_path / "a.parquet")
        assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == groups
    assert len(list(iterate_rows(tmp_path))) == 100
