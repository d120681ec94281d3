"""Rows on their way from files, which come in any order, to shards, which are sorted by id.

Readers write runs: Arrow files of a bounded number of bytes, each sorted by id. A merge then takes, for every shard,
its slice of every run (the runs are memory-mapped, so a slice costs what it holds), sorts, and writes the shard.
Neither the number of runs nor who wrote them shows in the bytes of a shard: ids are unique.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from privllm.collect.files import Document, Refused
from privllm.core.errors import UserError
from privllm.core.records import DOCUMENTS, QUARANTINE, shard_name
from privllm.core.tables import write_table

RUN_BYTES = 32 << 20  # of text (counted in characters) held before a run is written
RUN_ROWS = 1 << 16
MAX_SHARD_BYTES = 2**31 - 1  # Arrow's string offsets are 32 bits


class Runs:
    """Collects a reader's rows and writes them as `<stem>.<n>.documents` and `<stem>.<n>.quarantine`."""

    def __init__(self, stem: Path) -> None:
        self.stem, self.written = stem, 0
        self.documents: list[Document] = []
        self.refused: list[Refused] = []
        self.held = 0

    def add(self, row: Document | Refused) -> None:
        if isinstance(row, Document):
            self.documents.append(row)
            self.held += len(row.text)
        else:
            self.refused.append(row)
        if self.held >= RUN_BYTES or len(self.documents) + len(self.refused) >= RUN_ROWS:
            self.flush()

    def flush(self) -> None:
        for rows, schema, kind in ((sorted(self.documents), DOCUMENTS, "documents"), (sorted(self.refused), QUARANTINE, "quarantine")):
            if rows:
                write_run(table_of(rows, schema), self.stem.with_name(f"{self.stem.name}.{self.written:05d}.{kind}"))
        self.documents, self.refused, self.held = [], [], 0
        self.written += 1


def table_of(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows, whose fields are in the schema's order, as a table of one chunk."""
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def write_run(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_run(path: Path) -> pa.Table:
    """A run, mapped into memory and not yet read."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def merge_shards(out: Path, bits: int, first: int, last: int, *runs: Path) -> int:
    """Write shards `first` to `last - 1` of `2**bits` from their slices of all runs; returns their documents."""
    tables = [read_run(path) for path in runs]
    return sum(_merge_shard(tables, out / shard_name(index), bits, index) for index in range(first, last))


def _merge_shard(runs: list[pa.Table], path: Path, bits: int, index: int) -> int:
    slices = [between(run, _bound(index, bits), _bound(index + 1, bits)) for run in runs]
    if sum(part.nbytes for part in slices) > MAX_SHARD_BYTES:
        raise UserError(f"shard {index} of {2**bits} would hold over 2 GB of text: raise `collect.shard_bits` in params.yaml by 2.")
    table = pa.concat_tables([DOCUMENTS.empty_table(), *slices]).combine_chunks()
    order = sorted(range(len(table)), key=table["id"].to_pylist().__getitem__)
    write_table(table.take(pa.array(order, pa.int64())), path)
    return len(order)


def between(table: pa.Table, low: str, high: str) -> pa.Table:
    """The rows of a table sorted by id with `low <= id < high`, as a view."""
    start = _search(table, low)
    return table.slice(start, _search(table, high) - start)


def _search(table: pa.Table, bound: str) -> int:
    """The first row whose id is not below `bound`."""
    identifier: Callable[[int], str] = lambda row: table["id"][row].as_py()  # noqa: E731
    low, high = 0, len(table)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if identifier(middle) < bound else (low, middle)
    return low


def _bound(index: int, bits: int) -> str:
    """The least id of shard `index`; above all ids where there is no such shard."""
    return f"{index << (16 - bits):04x}" if index < 2**bits else "g"


def merge_quarantine(out: Path, rows: list[Refused], runs: list[Path]) -> dict[str, int]:
    """Write quarantine.parquet, sorted by source, from the survey's rows and the readers' runs; counts by reason."""
    table = pa.concat_tables([table_of(rows, QUARANTINE), *map(read_run, runs)]).combine_chunks()
    table = table.sort_by([("source", "ascending"), ("reason", "ascending")])
    write_table(table, out / "quarantine.parquet")
    counts = table["reason"].value_counts().to_pylist()
    return {item["values"]: item["counts"] for item in sorted(counts, key=lambda item: item["values"])}
