"""The files below the sources as columns of a table, and which bytes they had when they were read: an index as git keeps.

There may be very many. A row takes some 100 bytes here; a path, a status and a digest take ten times that as Python's objects.
"""

from array import array
from contextlib import suppress
from pathlib import Path
from time import time_ns

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.engine.digests import TICK_NS, Status, replacing

STATUS = ("bytes", "modified", "changed", "inode")  # the fields of a `Status`, modulo 2**64
FILES = pa.schema([("source", pa.string()), *((name, pa.uint64()) for name in STATUS)])
KNOWN = FILES.append(pa.field("md5", pa.string()))  # "" where it is not known


def unsigned(status: Status) -> tuple[int, ...]:
    """As the columns hold it; a time before 1970 becomes one to come, which is never believed."""
    return tuple(value % 2**64 for value in status)


class Listing:
    """Rows of FILES, one after the other."""

    def __init__(self) -> None:
        self._parts = [FILES.empty_table()]
        self._sources: list[str] = []
        self._status = array("Q")

    def add(self, source: str, status: Status) -> None:
        self._sources.append(source)
        self._status.extend(unsigned(status))
        if len(self._sources) == 4096:
            self._flush()

    def table(self) -> pa.Table:
        if self._sources:
            self._flush()
        return pa.concat_tables(self._parts)

    def _flush(self) -> None:
        status = np.frombuffer(self._status, np.uint64).reshape(-1, len(STATUS))
        columns = [pa.array(np.ascontiguousarray(column)) for column in status.T]
        self._parts.append(pa.table([pa.array(self._sources, pa.string()), *columns], schema=FILES))
        self._sources, self._status = [], array("Q")


def recall(index: Path, files: pa.Table) -> pa.Array:
    """The MD5 of each of `files` (FILES), "" of those that have to be read.

    A file is believed to be what it was while its status is the same, unless it was written so shortly before the index that a
    later write could hide in the same tick of the clock.
    """
    known = load(index)
    saved = int((known.schema.metadata or {}).get(b"saved", 0))
    safe = pa.scalar(max(0, saved - TICK_NS), pa.uint64())
    places = pc.index_in(files["source"], known["source"])
    same = pc.less(pc.max_element_wise(known["modified"], known["changed"]), safe).take(places)
    for name in STATUS:
        same = pc.and_(same, pc.equal(files[name], known[name].take(places)))
    return pc.if_else(pc.fill_null(same, False), known["md5"].take(places), "")


def load(index: Path) -> pa.Table:
    """What was known (KNOWN) when the index was saved last; nothing where it is lost."""
    with suppress(OSError, pa.ArrowException), pa.OSFile(str(index)) as file:
        known = pa.ipc.open_stream(file).read_all()
        if known.schema.equals(KNOWN):
            return known
    return KNOWN.empty_table()


def touched_unseen(index: Path, files: pa.Table) -> pa.Table:
    """The rows of `files` (FILES), with the MD5 that the index knows, that were written since though size, time and inode are the same.

    DVC looks at these three and takes such a file for unchanged; the kernel's own time of change gives it away.
    """
    known = load(index)
    places = pc.index_in(files["source"], known["source"])
    unseen = pc.not_equal(files["changed"], known["changed"].take(places))
    for name in ("bytes", "modified", "inode"):
        unseen = pc.and_(unseen, pc.equal(files[name], known[name].take(places)))
    chosen = pc.fill_null(unseen, False)
    return files.append_column("md5", known["md5"].take(places)).filter(chosen)


def save(index: Path, known: pa.Table, named: str = "") -> None:
    """Keep the MD5 of files (KNOWN), and what `data/sources.dvc` named then. Losing the index costs time only."""
    known = known.replace_schema_metadata({"saved": str(time_ns()), "named": named})
    with replacing(index) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_stream(file, known.schema) as writer:
        writer.write_table(known)
