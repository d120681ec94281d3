from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.buckets import Runs, between, merge_quarantine, merge_shards, table_of
from privllm.collect.files import Document, Refused
from privllm.core.records import DOCUMENTS, document_id, shard_of
from privllm.core.tables import iterate_rows, read_table


def document(name: str) -> Document:
    return Document(document_id(name), name, "text/plain", "utf-8", "0" * 32, f"text of {name}")


@given(st.sets(st.integers(0, 2**20), max_size=40), st.integers(0, 12), st.integers(0, 2**12 - 1))
def test_between_is_a_filter(names: set[int], bits: int, place: int) -> None:
    rows = sorted(document(str(name)) for name in names)
    index = place >> (12 - bits)
    low, high = f"{index << (16 - bits):04x}", f"{(index + 1) << (16 - bits):04x}" if index + 1 < 2**bits else "g"
    expected = [row.id for row in rows if shard_of(row.id, bits) == index]
    assert between(table_of(rows, DOCUMENTS), low, high)["id"].to_pylist() == expected


def test_runs_merge_into_sorted_shards(tmp_path: Path) -> None:
    everyone = [document(str(index)) for index in range(100)]
    for part in range(3):
        runs = Runs(tmp_path / f"{part}")
        for row in everyone[part::3]:
            runs.add(row)
        runs.flush()
    assert merge_shards(tmp_path, 2, 0, 4, *sorted(tmp_path.glob("*.documents"))) == 100
    assert [row["id"] for row in iterate_rows(tmp_path)] == sorted(row.id for row in everyone)


def test_no_runs_make_empty_shards(tmp_path: Path) -> None:
    assert merge_shards(tmp_path, 1, 0, 2) == 0
    assert read_table(tmp_path / "00001.parquet").schema == DOCUMENTS


def test_quarantine_is_sorted_and_counted(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "0")
    runs.add(Refused("b.jsonl#2", "", 5, "no_text", "x"))
    runs.flush()
    counts = merge_quarantine(
        tmp_path, [Refused("c", "", 1, "empty", "x"), Refused("a", "", 1, "empty", "x")], list(tmp_path.glob("*.quarantine"))
    )
    assert counts == {"empty": 2, "no_text": 1}
    assert [row["source"] for row in iterate_rows(tmp_path)] == ["a", "b.jsonl#2", "c"]


def test_a_table_of_no_rows_keeps_its_schema() -> None:
    assert table_of([], DOCUMENTS) == pa.table({field.name: pa.array([], field.type) for field in DOCUMENTS}, schema=DOCUMENTS)
