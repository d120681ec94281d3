"""Tables on disk: Parquet shards whose bytes depend on their rows alone.

A data stage's folder holds `00000.parquet` ... one file per shard; other tables of the stage lie in subfolders,
so `datasets.load_dataset("parquet", data_files="data/clean/*.parquet")` sees documents only.
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
    """Make pyarrow do without pandas in this process, unless it is there already.

    pyarrow looks for pandas when it makes its first array, and importing that takes 0.35 s. It looks once only.
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
    rows = max(1, min(len(table), len(table) * ROW_GROUP_BYTES // max(1, _content_bytes(table))))
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, row_group_size=rows, compression="zstd", compression_level=1)
    partial.replace(path)


def _content_bytes(table: pa.Table) -> int:
    """About the size of the values, from the values alone: what Arrow has allocated for equal rows may differ."""
    texts = (column for column in table.columns if pa.types.is_string(column.type))
    lists = (pc.list_value_length(column) for column in table.columns if pa.types.is_list(column.type))
    text_bytes = sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in texts)
    return 8 * len(table) * table.num_columns + text_bytes + 8 * sum(pc.sum(lengths).as_py() or 0 for lengths in lists)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One shard, or some of its columns."""
    return pq.read_table(path, columns=columns, use_threads=False)


def by_id(table: pa.Table) -> pa.Table:
    """The rows in the order of their ids. (`Table.sort_by` would load Arrow's query engine for it.)"""
    return table.take(pc.sort_indices(table["id"]))


def shards_of(folder: Path) -> list[Path]:
    """The document shards of a stage's folder, in order."""
    return sorted(folder.glob("*.parquet"))


def read_folder(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """All shards of a folder as one table, in shard order. For small columns: it is all in memory."""
    return pa.concat_tables([read_table(path, columns) for path in shards_of(folder)])


def iterate_rows(folder: Path, columns: list[str] | None = None) -> Iterator[dict]:
    """Rows of all shards as dicts, a batch in memory at a time."""
    for path in shards_of(folder):
        for batch in pq.ParquetFile(path).iter_batches(columns=columns, use_threads=False):
            yield from batch.to_pylist()
