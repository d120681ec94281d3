"""The index of source files, as git keeps one: a table of their names, status and MD5.

There may be very many files. A row takes some 100 bytes here; a path, a status and a digest take
ten times that as Python objects.
"""

from array import array
from contextlib import suppress
from pathlib import Path
from time import time_ns

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.engine.digests import TICK_NS, Status, replacing

BATCH_ROWS = 4096
STATUS = ("bytes", "modified", "changed", "inode")  # the fields of a `Status`, modulo 2**64
FILES = pa.schema([("source", pa.string()), *((name, pa.uint64()) for name in STATUS)])
KNOWN = FILES.append(pa.field("md5", pa.string()))  # "" where it is unknown


def unsigned(status: Status) -> tuple[int, ...]:
    """Return a status as stored; a time before 1970 becomes a future one, which never counts."""
    return tuple(value % 2**64 for value in status)


class Listing:
    """Files that are collected one by one and become a table of FILES."""

    def __init__(self) -> None:
        self._tables = [FILES.empty_table()]
        self._sources: list[str] = []
        self._status = array("Q")  # of `_sources`, the fields of a file one after the other

    def add(self, source: str, status: Status) -> None:
        """Append a file."""
        self._sources.append(source)
        self._status.extend(unsigned(status))
        if len(self._sources) == BATCH_ROWS:
            self._flush()

    def table(self) -> pa.Table:
        """Return all files (FILES), in the order in which they were added."""
        if self._sources:
            self._flush()
        return pa.concat_tables(self._tables)

    def _flush(self) -> None:
        status = np.frombuffer(self._status, np.uint64).reshape(-1, len(STATUS))
        columns = [pa.array(np.ascontiguousarray(column)) for column in status.T]
        sources = pa.array(self._sources, pa.string())
        self._tables.append(pa.table([sources, *columns], schema=FILES))
        self._sources, self._status = [], array("Q")


def recall(index: Path, files: pa.Table) -> pa.Array:
    """Return the MD5 of each of `files` (FILES), "" where the file has to be read.

    A file is taken for unchanged while its status is the same, unless it was written so shortly
    before the index that a later write could hide in the same tick of the clock.
    """
    indexed = load(index)
    saved = int((indexed.schema.metadata or {}).get(b"saved", 0))
    latest = pa.scalar(max(0, saved - TICK_NS), pa.uint64())
    last_write = pc.max_element_wise(indexed["modified"], indexed["changed"])
    rows = pc.index_in(files["source"], indexed["source"])
    is_unchanged = pc.less(last_write, latest).take(rows)
    for name in STATUS:
        is_unchanged = pc.and_(is_unchanged, pc.equal(files[name], indexed[name].take(rows)))
    return pc.if_else(pc.fill_null(is_unchanged, False), indexed["md5"].take(rows), "")


def load(index: Path) -> pa.Table:
    """Read the files (KNOWN) that were saved last; none where the index is lost."""
    with suppress(OSError, pa.ArrowException), pa.OSFile(str(index)) as file:
        indexed = pa.ipc.open_stream(file).read_all()
        if indexed.schema.equals(KNOWN):
            return indexed
    return KNOWN.empty_table()


def touched_unseen(index: Path, files: pa.Table) -> pa.Table:
    """Return those of `files` (FILES) that were written though size, time and inode are equal.

    DVC compares these three and takes such a file for unchanged; the kernel's time of change
    reveals the write. The MD5 is that of the index.
    """
    indexed = load(index)
    rows = pc.index_in(files["source"], indexed["source"])
    is_unseen = pc.not_equal(files["changed"], indexed["changed"].take(rows))
    for name in ("bytes", "modified", "inode"):
        is_unseen = pc.and_(is_unseen, pc.equal(files[name], indexed[name].take(rows)))
    with_md5 = files.append_column("md5", indexed["md5"].take(rows))
    return with_md5.filter(pc.fill_null(is_unseen, False))


def save(index: Path, files: pa.Table, content_name: str = "") -> None:
    """Write the MD5 of files (KNOWN), and the content that `data/sources.dvc` named then.

    Losing the index costs time only.
    """
    files = files.replace_schema_metadata({"saved": str(time_ns()), "named": content_name})
    with (
        replacing(index) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_stream(file, files.schema) as writer,
    ):
        writer.write_table(files)
