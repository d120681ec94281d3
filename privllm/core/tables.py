"""Tables on disk: Parquet shards whose bytes depend only on their rows.

A data stage's folder holds `00000.parquet` ... one file per shard; other tables of the stage lie in
subfolders, so `datasets.load_dataset("parquet", data_files="data/clean/*.parquet")` sees documents
only.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROW_GROUP_BYTES = 8 << 20


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def keep_pandas_out() -> None:
    """Make pyarrow do without pandas in this process, unless pandas is imported already.

    pyarrow looks for pandas once, when it makes its first array, and that import takes 0.35 s.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(_NoPandas)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet (zstd) so that equal rows give equal bytes; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.combine_chunks().replace_schema_metadata(None)
    rows_of_a_group = len(table) * ROW_GROUP_BYTES // max(1, _content_bytes(table))
    rows_of_a_group = max(1, min(len(table), rows_of_a_group))
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, row_group_size=rows_of_a_group, compression="zstd", compression_level=1)
    partial.replace(path)


def _content_bytes(table: pa.Table) -> int:
    """Return the approximate size of the values, computed from them.

    What Arrow has allocated for equal rows may differ.
    """
    size = 8 * len(table) * table.num_columns
    for column in table.columns:
        if pa.types.is_string(column.type):
            size += pc.sum(pc.binary_length(column)).as_py() or 0
        elif pa.types.is_list(column.type):
            items = pc.sum(pc.list_value_length(column)).as_py() or 0
            size += 8 * items
    return size


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Return one shard, or some of its columns."""
    return pq.read_table(path, columns=columns, use_threads=False)


def by_id(table: pa.Table) -> pa.Table:
    """Return the rows in the order of their ids.

    (`Table.sort_by` would load Arrow's query engine.)
    """
    return table.take(pc.sort_indices(table["id"]))


def shards_of(folder: Path) -> list[Path]:
    """Return the document shards of a stage's folder, in order."""
    return sorted(folder.glob("*.parquet"))


def read_folder(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """Return all shards of a folder as one table in memory, in shard order; for small columns."""
    return pa.concat_tables([read_table(path, columns) for path in shards_of(folder)])


def iterate_rows(folder: Path, columns: list[str] | None = None) -> Iterator[dict]:
    """Yield the rows of all shards as dicts, a batch in memory at a time."""
    for path in shards_of(folder):
        for batch in pq.ParquetFile(path).iter_batches(columns=columns, use_threads=False):
            yield from batch.to_pylist()
