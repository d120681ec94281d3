"""Documents on their way from files, which come in any order, to shards, which are sorted by id.

Readers write runs: Arrow files of a bounded number of bytes, each sorted by id and in as many batches as there are shards, so
whoever writes a shard reads its batch of every run and nothing else. Neither the number of runs nor who wrote them shows in a shard.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.files import Document
from privllm.core.records import DOCUMENTS, SHARD_DIGITS, shard_of
from privllm.engine.digests import replacing

RUN_BYTES = 64 << 20  # of text (counted in characters) held before a run is written
RUN_ROWS = 1 << 16


class Runs:
    """Collects a reader's documents and writes them as `<stem>.<n>.documents`, a batch for each of `2**bits` shards."""

    def __init__(self, stem: Path, bits: int) -> None:
        self.stem, self.bits = stem, bits
        self.written: list[Path] = []
        self._documents: list[Document] = []
        self._held = 0

    def add(self, document: Document) -> None:
        if self._held + len(document.text) > RUN_BYTES or len(self._documents) >= RUN_ROWS:
            self.flush()
        self._documents.append(document)
        self._held += len(document.text)

    def flush(self) -> None:
        if self._documents:
            self.written.append(self.stem.with_name(f"{self.stem.name}.{len(self.written):05d}.documents"))
            table = table_of(sorted(self._documents), DOCUMENTS)
            self._documents, self._held = [], 0  # the table has them
            edges = pairwise(bounds(table["id"], self.bits).tolist())
            write_run([table.slice(first, last - first) for first, last in edges], self.written[-1])


def table_of(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows, whose fields are in the schema's order, as a table of one chunk."""
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def bounds(ids: pa.ChunkedArray, bits: int) -> np.ndarray:
    """For ids in order, where each of `2**bits` shards begins and the last ends, int64 (2**bits + 1)."""
    digits = pc.utf8_slice_codeunits(ids, 0, SHARD_DIGITS).to_pylist()
    leading = np.array([shard_of(four, bits) for four in digits], np.int64)
    return np.searchsorted(leading, np.arange(2**bits + 1))


def write_run(batches: Sequence[pa.Table], path: Path) -> None:
    """Each table, which is one chunk at most, as a batch of an Arrow file."""
    schema = batches[0].schema
    with replacing(path) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            (part,) = batch.to_batches() or [pa.RecordBatch.from_pylist([], schema=schema)]
            writer.write_batch(part)


def read_batch(path: Path, index: int) -> pa.Table:
    """One batch of a run. It is read, not mapped: pages of mapped files count as this process's memory until somebody wants them."""
    with pa.OSFile(str(path)) as file:
        return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(index)])
