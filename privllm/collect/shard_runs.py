"""Sorted runs of documents: the step between files in any order and shards sorted by id.

Workers write runs: Arrow files of a bounded number of bytes, each sorted by id and in as many
batches as there are shards, so the writer of a shard reads its batch of every run and nothing else.
Neither the number of runs nor their writers change the bytes of a shard.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.documents import CollectedDocument
from privllm.core.records import DOCUMENTS, SHARD_DIGITS, shard_of
from privllm.engine.digests import replacing

RUN_BYTES = 64 << 20  # of text (counted in characters) in memory before a run is written
RUN_ROWS = 1 << 16


class RunWriter:
    """Writes a worker's documents as `<stem>.<n>.documents`, with a batch for each shard."""

    def __init__(self, stem: Path, bits: int) -> None:
        self.stem, self.bits = stem, bits
        self.written: list[Path] = []
        self._documents: list[CollectedDocument] = []
        self._characters = 0  # of these documents

    def add(self, document: CollectedDocument) -> None:
        """Take a document, and write a run first where it would become too large."""
        if self._characters + len(document.text) > RUN_BYTES or len(self._documents) >= RUN_ROWS:
            self.flush()
        self._documents.append(document)
        self._characters += len(document.text)

    def flush(self) -> None:
        """Write the documents that are in no run yet."""
        if not self._documents:
            return
        path = self.stem.with_name(f"{self.stem.name}.{len(self.written):05d}.documents")
        table = table_of(sorted(self._documents), DOCUMENTS)
        self._documents, self._characters = [], 0  # the table has them
        edges = bounds(table["id"], self.bits).tolist()
        batches = [table.slice(first, last - first) for first, last in pairwise(edges)]
        write_run(batches, path)
        self.written.append(path)


def table_of(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Return rows, whose fields are in the schema's order, as a table of one chunk."""
    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def bounds(ids: pa.ChunkedArray, bits: int) -> np.ndarray:
    """Return where each shard begins in sorted ids, and the end of the last, int64 (2**bits + 1)."""
    prefixes = pc.utf8_slice_codeunits(ids, 0, SHARD_DIGITS).to_pylist()
    shards = np.array([shard_of(prefix, bits) for prefix in prefixes], np.int64)
    return np.searchsorted(shards, np.arange(2**bits + 1))


def write_run(tables: Sequence[pa.Table], path: Path) -> None:
    """Write each table, which has one chunk at most, as a batch of an Arrow file."""
    schema = tables[0].schema
    empty = pa.RecordBatch.from_pylist([], schema=schema)
    with (
        replacing(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for table in tables:
            (batch,) = table.to_batches() or [empty]
            writer.write_batch(batch)


def read_batch(path: Path, index: int) -> pa.Table:
    """Read one batch of a run.

    It is read, not mapped: pages of mapped files count as this process's memory until another
    process needs them.
    """
    with pa.OSFile(str(path)) as file:
        return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(index)])
