"""What every source file said last time, without its text, so that only changed files are read.

A hint and no more: an entry counts only for the same source with the same bytes, and what the shards are made of is named
by digests. It lies beside the store's actions, so experiments share it; losing it costs one full read.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from privllm.collect.files import Document, Refused
from privllm.core.digests import replacing

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


class FileEntries(NamedTuple):
    """One file's part of the entries."""

    md5: str
    start: int
    rows: int


class Memory(NamedTuple):
    files: dict[str, FileEntries]  # by source
    entries: pa.Table  # ENTRIES, file after file
    shards: list[tuple[str, int]]  # MD5 and bytes of each shard made of them

    @classmethod
    def empty(cls) -> "Memory":
        return cls({}, ENTRIES.empty_table(), [])

    @classmethod
    def of(cls, files: Mapping[str, FileEntries], entries: pa.Table) -> "Memory":
        """`entries` are those of `files`, in that order."""
        starts = np.cumsum([0, *(part.rows for part in files.values())]).tolist()
        assert starts[-1] == len(entries), "entries without a file"
        return cls({source: part._replace(start=start) for (source, part), start in zip(files.items(), starts, strict=False)}, entries, [])

    @classmethod
    def load(cls, path: Path) -> "Memory":
        with suppress(OSError, pa.ArrowException, KeyError), path.open("rb") as file:
            files, entries, shards = (pa.ipc.open_stream(file).read_all() for _ in range(3))
            if (files.schema, entries.schema, shards.schema) == (FILES, ENTRIES, SHARDS):
                columns = (files[name].to_pylist() for name in FILES.names)
                known = {source: FileEntries(md5, 0, rows) for source, md5, rows in zip(*columns, strict=True)}
                return cls.of(known, entries)._replace(shards=list(zip(*shards.to_pydict().values(), strict=True)))
        return cls.empty()

    def save(self, path: Path) -> None:
        files = pa.table([list(self.files), [f.md5 for f in self.files.values()], [f.rows for f in self.files.values()]], schema=FILES)
        shards = pa.table([[md5 for md5, _ in self.shards], [size for _, size in self.shards]], schema=SHARDS)
        with replacing(path) as partial, partial.open("wb") as file:
            for table in (files, self.entries, shards):
                with pa.ipc.new_stream(file, table.schema) as writer:
                    writer.write_table(table)

    def take(self, sources: Sequence[str]) -> pa.Table:
        """The entries of some files, in that order."""
        parts = [self.files[source] for source in sources]
        rows = np.concatenate([np.arange(part.start, part.start + part.rows) for part in parts] or [np.zeros(0, np.int64)])
        return self.entries.take(pa.array(rows, pa.int64()))
