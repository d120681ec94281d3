"""The last run's entries of every source file, without texts, so that only changed files are read.

They are a hint and no more: an entry counts only for the same source with the same bytes, and the
content of the shards is named by digests. The file lies beside the store's actions, so experiments
share it; losing it costs one full read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined
from privllm.core.records import ABOUT
from privllm.engine.digests import replacing

FILES = pa.schema(
    [
        ("source", pa.string()),
        ("md5", pa.string()),
        ("rows", pa.int64()),
        ("readers", pa.string()),  # versions of all that read it and what lies in it, sorted, separated by " "
    ]
)
ENTRIES = pa.schema(  # a document, or why there is none ("reason" is "" for a document)
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("media_type", pa.string()),
        ("encoding", pa.string()),
        ("digest", pa.string()),
        *ABOUT,
        ("characters", pa.int64()),
        ("bytes", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("reader", pa.string()),  # its version (reader_versions)
        ("parts", pa.list_(pa.int32())),  # of its file that it lies in, from the outermost: characters of their sources
        ("sizes", pa.list_(pa.int64())),  # of these parts, in bytes
        (
            "containers",
            pa.list_(pa.string()),
        ),  # versions of the readers of these parts but of the last, whose is "reader"
        ("told", pa.string()),  # what was said of the last of them (SourceFile.told)
    ]
)
PASSED_OVER = "passed over"  # the reason of a part that is counted as ignored, not as quarantined
SAME_NAME = "same_name"  # the reason of a file that is called as what lies in another
SHARDS = pa.schema([("md5", pa.string()), ("bytes", pa.int64())])


class Entry(NamedTuple):
    """A row of ENTRIES."""

    id: str
    source: str
    media_type: str
    encoding: str
    digest: str
    title: str
    author: str
    date: str
    characters: int
    bytes: int
    reason: str
    detail: str
    reader: str
    parts: list[int]
    sizes: list[int]
    containers: list[str]
    told: str


def entry_of(
    row: CollectedDocument | Quarantined | PassedOver,
    reader: str,
    parts: Sequence[int],
    sizes: Sequence[int],
    containers: Sequence[str],
    told: str,
) -> Entry:
    """Return what is remembered of a row that a reader of that version made; the other columns are those of ENTRIES."""
    lies_in = list(parts), list(sizes), list(containers)
    if isinstance(row, CollectedDocument):
        kind = row.media_type, row.encoding, row.digest
        about = row.title, row.author, row.date
        return Entry(row.id, row.source, *kind, *about, len(row.text), 0, "", "", reader, *lies_in, told)
    if isinstance(row, PassedOver):
        return Entry("", row.source, "", "", "", "", "", "", 0, 0, PASSED_OVER, "", reader, *lies_in, told)
    refusal = row.bytes, row.reason, row.detail
    return Entry("", row.source, "", "", row.digest, "", "", "", 0, *refusal, reader, *lies_in, told)


class SeenFiles(NamedTuple):
    """Source files with their entries, and the shards that were made of them."""

    files: pa.Table  # FILES
    entries: pa.Table  # ENTRIES, file after file
    shards: list[tuple[str, int]]  # MD5 and bytes of each

    @classmethod
    def of(cls, files: pa.Table, entries: pa.Table) -> "SeenFiles":
        """Return `files` with their `entries`, which are in the order of the files."""
        assert (pc.sum(files["rows"]).as_py() or 0) == len(entries), "entries without a file"
        return cls(files, entries, [])

    @classmethod
    def empty(cls) -> "SeenFiles":
        """Return no files."""
        return cls(FILES.empty_table(), ENTRIES.empty_table(), [])

    @classmethod
    def load(cls, path: Path) -> "SeenFiles":
        """Read what `save` wrote; no files where it is missing, damaged or of another version."""
        try:
            with pa.OSFile(str(path)) as file:
                tables = [pa.ipc.open_stream(file).read_all() for _ in range(3)]
        except (OSError, pa.ArrowException, KeyError):
            return cls.empty()
        files, entries, shards = tables
        if [table.schema for table in tables] != [FILES, ENTRIES, SHARDS]:
            return cls.empty()
        columns = shards.to_pydict()
        pairs = zip(columns["md5"], columns["bytes"], strict=True)
        return cls.of(files, entries)._replace(shards=list(pairs))

    def save(self, path: Path) -> None:
        """Write the three tables to one file, as Arrow streams one after the other."""
        columns = [[md5 for md5, _ in self.shards], [size for _, size in self.shards]]
        shards = pa.table(columns, schema=SHARDS)
        with replacing(path) as partial, pa.OSFile(str(partial), "wb") as file:
            for table in (self.files, self.entries, shards):
                with pa.ipc.new_stream(file, table.schema) as writer:
                    writer.write_table(table)

    def file_of_entries(self) -> pa.Array:
        """Return for each entry the row of its file, int32."""
        rows = np.arange(len(self.files), dtype=np.int32)
        return pa.array(np.repeat(rows, self.files["rows"].to_numpy()))

    def only(self, sources: Sequence[str]) -> "SeenFiles":
        """Return those of the files that are among `sources`, with their entries."""
        if not len(self.files):
            return self
        is_asked = pc.is_in(self.files["source"], pa.array(sources, pa.string()))
        return self.take(np.flatnonzero(is_asked.to_numpy()))

    def entries_by_file(self) -> dict[str, list[Entry]]:
        """Return the entries of each file, by its source."""
        by_file: dict[str, list[Entry]] = {}
        place = 0
        for source, count in zip(self.files["source"].to_pylist(), self.files["rows"].to_pylist(), strict=True):
            rows = self.entries.slice(place, count).to_pylist()
            by_file[source] = [Entry(**row) for row in rows]
            place += count
        return by_file

    def take(self, file_rows: Sequence[int] | np.ndarray) -> "SeenFiles":
        """Return the files in some rows, in that order, with their entries."""
        all_counts = self.files["rows"].to_numpy()
        first_entries = np.cumsum(all_counts) - all_counts
        counts = all_counts[file_rows]
        entries_before = np.cumsum(counts) - counts  # of the files that come before, in the result
        offsets = np.repeat(first_entries[file_rows] - entries_before, counts)
        entry_rows = offsets + np.arange(counts.sum())
        files = self.files.take(pa.array(file_rows, pa.int64()))
        return SeenFiles.of(files, self.entries.take(pa.array(entry_rows)))
