"""Documents on their way from files, which come in any order, to shards, which are sorted by id.

Readers write runs: Arrow files of a bounded number of bytes, each sorted by id and mapped into memory by those who take
their slice of it, so a slice costs what it holds. Neither the number of runs nor who wrote them shows in a shard.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from privllm.collect.files import Document
from privllm.core.digests import replacing
from privllm.core.records import DOCUMENTS

RUN_BYTES = 32 << 20  # of text (counted in characters) held before a run is written
RUN_ROWS = 1 << 16


class Runs:
    """Collects a reader's documents and writes them as `<stem>.<n>.documents`."""

    def __init__(self, stem: Path) -> None:
        self.stem = stem
        self.written: list[Path] = []
        self._documents: list[Document] = []
        self._held = 0

    def add(self, document: Document) -> None:
        self._documents.append(document)
        self._held += len(document.text)
        if self._held >= RUN_BYTES or len(self._documents) >= RUN_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._documents:
            self.written.append(self.stem.with_name(f"{self.stem.name}.{len(self.written):05d}.documents"))
            write_run(table_of(sorted(self._documents), DOCUMENTS), self.written[-1])
        self._documents, self._held = [], 0


def table_of(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows, whose fields are in the schema's order, as a table of one chunk."""
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def write_run(table: pa.Table, path: Path) -> None:
    with replacing(path) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read_run(path: Path) -> pa.Table:
    """A run, mapped into memory and not yet read."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def between(table: pa.Table, low: str, high: str) -> pa.Table:
    """The rows of a table sorted by id with `low <= id < high`, as a view."""
    start = _search(table, low)
    return table.slice(start, _search(table, high) - start)


def _search(table: pa.Table, bound: str) -> int:
    """The first row whose id is not below `bound`."""
    ids = table["id"]
    low, high = 0, len(table)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if ids[middle].as_py() < bound else (low, middle)
    return low
