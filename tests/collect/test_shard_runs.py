import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect import shard_runs
from privllm.collect.documents import CollectedDocument
from privllm.collect.shard_runs import read_batch, table_of
from privllm.core.records import DOCUMENTS, document_id, shard_of


def document(name: str) -> CollectedDocument:
    return CollectedDocument(document_id(name), name, "text/plain", "utf-8", "0" * 32, f"text of {name}")


@pytest.mark.slow
@given(st.sets(st.integers(0, 2**20), max_size=40), st.integers(0, 12))
def test_each_batch_of_a_run_is_its_shard(names: set[int], bits: int) -> None:
    rows = sorted(document(str(name)) for name in names)
    with tempfile.TemporaryDirectory() as folder:
        run = shard_runs.RunWriter(Path(folder, "part"), bits)
        for row in rows:
            run.add(row)
        run.flush()
        for index in range(2**bits) if rows else []:
            expected = [row for row in rows if shard_of(row.id, bits) == index]
            assert read_batch(run.written[0], index) == table_of(expected, DOCUMENTS)


def test_runs_are_sorted_and_together_hold_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_runs, "RUN_ROWS", 7)
    everyone = [document(str(index)) for index in range(100)]
    written = shard_runs.RunWriter(tmp_path / "part", 0)
    for row in everyone:
        written.add(row)
    written.flush()
    tables = [read_batch(path, 0) for path in written.written]
    assert [len(table) for table in tables] == [7] * 14 + [2]
    assert all(table["id"].to_pylist() == sorted(table["id"].to_pylist()) for table in tables)
    assert sorted(name for table in tables for name in table["source"].to_pylist()) == sorted(
        row.source for row in everyone
    )


def test_a_table_of_no_rows_keeps_its_schema() -> None:
    assert table_of([], DOCUMENTS) == pa.table(
        {field.name: pa.array([], field.type) for field in DOCUMENTS}, schema=DOCUMENTS
    )
