"""What every source file said last time, without its text, so that only changed files are read.

A hint and no more: an entry counts only for the same source with the same bytes, and what the shards are made of is named
by digests. It lies beside the store's actions, so experiments share it; losing it costs one full read.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.files import Document, Refused
from privllm.engine.digests import replacing

FILES = pa.schema([("source", pa.string()), ("md5", pa.string()), ("rows", pa.int64())])
ENTRIES = pa.schema(  # a document, or why there is none ("reason" is "" for a document)
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("media_type", pa.string()),
        ("encoding", pa.string()),
        ("digest", pa.string()),
        ("characters", pa.int64()),
        ("bytes", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
SHARDS = pa.schema([("md5", pa.string()), ("bytes", pa.int64())])


def entry_of(row: Document | Refused) -> tuple[object, ...]:
    if isinstance(row, Document):
        return (row.id, row.source, row.media_type, row.encoding, row.digest, len(row.text), 0, "", "")
    return ("", row.source, "", "", row.digest, 0, row.bytes, row.reason, row.detail)


class Memory(NamedTuple):
    files: pa.Table  # FILES
    entries: pa.Table  # ENTRIES, file after file
    shards: list[tuple[str, int]]  # MD5 and bytes of each shard made of them

    @classmethod
    def of(cls, files: pa.Table, entries: pa.Table) -> "Memory":
        """`entries` are those of `files`, in that order."""
        assert (pc.sum(files["rows"]).as_py() or 0) == len(entries), "entries without a file"
        return cls(files, entries, [])

    @classmethod
    def empty(cls) -> "Memory":
        return cls(FILES.empty_table(), ENTRIES.empty_table(), [])

    @classmethod
    def load(cls, path: Path) -> "Memory":
        with suppress(OSError, pa.ArrowException, KeyError), pa.OSFile(str(path)) as file:
            files, entries, shards = (pa.ipc.open_stream(file).read_all() for _ in range(3))
            if (files.schema, entries.schema, shards.schema) == (FILES, ENTRIES, SHARDS):
                return cls.of(files, entries)._replace(shards=list(zip(*shards.to_pydict().values(), strict=True)))
        return cls.empty()

    def save(self, path: Path) -> None:
        shards = pa.table([[md5 for md5, _ in self.shards], [size for _, size in self.shards]], schema=SHARDS)
        with replacing(path) as partial, pa.OSFile(str(partial), "wb") as file:
            for table in (self.files, self.entries, shards):
                with pa.ipc.new_stream(file, table.schema) as writer:
                    writer.write_table(table)

    def file_of_entries(self) -> pa.Array:
        """For each entry the row of its file, int32."""
        return pa.array(np.repeat(np.arange(len(self.files), dtype=np.int32), self.files["rows"].to_numpy()))

    def take(self, places: Sequence[int] | np.ndarray) -> "Memory":
        """Some files, in that order, with their entries."""
        rows = self.files["rows"].to_numpy()
        starts, counts = (np.cumsum(rows) - rows)[places], rows[places]
        before = np.cumsum(counts) - counts  # entries of the files that come before
        entries = np.repeat(starts - before, counts) + np.arange(counts.sum())
        return Memory.of(self.files.take(pa.array(places, pa.int64())), self.entries.take(pa.array(entries)))
