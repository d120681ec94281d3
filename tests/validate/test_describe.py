"""A shard in numbers, with columns for figures of a project's own."""

from pathlib import Path

import pyarrow as pa

from privllm.core.tables import read_table, write_table
from privllm.validate.describe import describe_shard
from privllm.validate.statistics import STATISTICS


def test_a_shard_with_other_columns_is_counted_and_described_by_an_empty_table(tmp_path: Path) -> None:
    write_table(pa.table({"id": ["a"], "text": ["b"]}), tmp_path / "00000.parquet")
    found = describe_shard(tmp_path / "out", tmp_path / "00000.parquet", tmp_path / "copied" / "00000.parquet")
    assert found == {"shard": "00000.parquet", "columns": "id: string, text: string", "documents": 1}
    assert read_table(tmp_path / "out" / "00000.parquet").schema == STATISTICS
