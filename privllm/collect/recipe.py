"""collect: every document below the sources as one row, whatever its format and encoding.

`collect` reads each file once, in groups, on all cores, and sorts what they say into shards by id. What cannot be
read is kept as a row of the quarantine with a named reason; nothing is passed over in silence. Text is as it came:
HTML is still HTML here, and personal data is still in it.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.dvc_content import content_of, with_digests
from privllm.collect.file_index import KNOWN, recall, save, unsigned
from privllm.collect.files import (
    JSONL,
    MEDIA_TYPES,
    Document,
    Refused,
    media_type,
    read_file,
    size_or_zero,
    source_of,
    survey,
)
from privllm.collect.jsonl import read_jsonl
from privllm.collect.read_jobs import GROUP_BYTES, GROUP_BYTES_A_SHARD, Jobs, groups
from privllm.collect.seen_files import ENTRIES, Memory, entry_of
from privllm.collect.seen_files import FILES as MEMORY_FILES
from privllm.collect.shard_runs import Runs, bounds, read_batch, table_of, write_run
from privllm.collect.shards import Where, keys_of, name_of, write_shard
from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.records import MAX_SHARD_BITS, QUARANTINE, shard_name
from privllm.core.report import balance, write_json
from privllm.core.tables import write_table
from privllm.core.work_paths import SOURCES_INDEX
from privllm.engine.digests import md5_of, status_of
from privllm.engine.dropped import write_list
from privllm.engine.source_guard import SOURCES_AS_READ, content_named_in
from privllm.engine.store import NO_STORE, Store, Unkeyed

LIST = "quarantine.txt"  # beside quarantine.parquet
READ = KNOWN.append(pa.field("rows", pa.int64()))  # and its entries
LISTED = ["id", "digest", "encoding"]  # what says which documents a shard is made of


@dataclass
class CollectConfig:
    shard_bits: int = 4  # the corpus is cut into 2^shard_bits shards, [0, 12]; a change rebuilds everything
    max_megabytes: float = 64  # a longer file, or line of a JSONL, is quarantined; (0, 1024]

    def __post_init__(self) -> None:
        require(0 <= self.shard_bits <= MAX_SHARD_BITS, "collect.shard_bits", f"a whole number from 0 to {MAX_SHARD_BITS}")
        require(0 < self.max_megabytes <= 1024, "collect.max_megabytes", "above 0 and at most 1024")


def collect(cfg: CollectConfig, sources: Path, out: Path, store: Store = NO_STORE, verify: bool = False) -> dict[str, Any]:
    """Read `sources` into `out/00000.parquet` ... (records.DOCUMENTS) and `out/quarantine/` (records.QUARANTINE).

    Files that look as they did last time are not opened, unless `verify`. Returns counts: entries (files, and lines of JSONL)
    = documents + quarantined. Raises UserError where no document is left.
    """
    max_bytes = int(cfg.max_megabytes * 1e6)
    if not sources.is_dir():
        raise UserError(f"{sources} is missing: put documents ({' '.join(MEDIA_TYPES)}) there, or run `privllm demo`.")
    files, refused, ignored, unread = survey(sources, max_bytes)
    _clear(out)
    partial = out / ".partial"
    partial.mkdir(parents=True)
    try:
        reader = Reader(cfg, sources, store, verify, partial)
        memory = reader.read(files)
        reader.hash_only(unread)
        del files, unread
        pa.default_memory_pool().release_unused()  # to the system: what comes next needs as much again
        entries, is_document = memory.entries, pc.equal(memory.entries["reason"], "")
        quarantined = _write_quarantine(out / "quarantine", refused, entries.filter(pc.invert(is_document)))
        made = _write_shards(cfg, out, store, reader, memory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    reader.remember(memory._replace(shards=[store.object_of(out / shard_name(index)) for index in range(2**cfg.shard_bits)]))
    balance(len(entries) + len(refused), made, sum(quarantined.values()))
    if not made:
        raise UserError(_nothing(sources, out, refused, quarantined))
    write_json(out / SOURCES_AS_READ, {"md5": content_of(reader.seen())})
    documents = entries.select(["characters", "media_type", "encoding"]).filter(is_document)
    return {
        "files": len(memory.files) + len(refused),
        "ignored": ignored,
        "entries": len(entries) + len(refused),
        "documents": made,
        "quarantined": quarantined,
        "characters": pc.sum(documents["characters"]).as_py(),
        "by_media_type": _counts(documents["media_type"]),
        "by_encoding": _counts(documents["encoding"]),
    }


class Reader:
    """Reads what is not known: from last time's memory, or from this time's runs."""

    def __init__(self, cfg: CollectConfig, sources: Path, store: Store, verify: bool, folder: Path) -> None:
        self.sources, self.folder, self.execute, self.verify = sources, folder, store.executor, verify
        self.max_bytes, self.shard_bits = int(cfg.max_megabytes * 1e6), cfg.shard_bits
        self.index = SOURCES_INDEX if store.cache else None
        self.file = store.note("collect", self.max_bytes, cfg.shard_bits)
        self.shards: list[tuple[str, int]] = []  # as they were
        self.files = READ.empty_table()  # READ; in the order of the memory that `read` returns
        self.unread = KNOWN.empty_table()
        self.kept = 0  # so many of them were not opened
        self.runs: list[Path] = []

    def read(self, files: pa.Table) -> Memory:
        """What all files (FILES) say."""
        md5, kept = self._remembered(files)
        pa.default_memory_pool().release_unused()
        self.kept = len(kept.files)
        known = pc.not_equal(md5, "")
        opened, entries = self.open(files.filter(pc.invert(known)))
        same = files.filter(known).append_column("md5", kept.files["md5"]).append_column("rows", kept.files["rows"])
        self.files = pa.concat_tables([same.cast(READ), opened])
        return Memory.of(self.files.select(MEMORY_FILES.names), pa.concat_tables([kept.entries, entries]))

    def _remembered(self, files: pa.Table) -> tuple[pa.ChunkedArray, Memory]:
        """The MD5 of each file, "" where it has to be read; and what the others say."""
        before = Memory.load(self.file) if self.file else Memory.empty()
        self.shards = before.shards
        md5 = recall(self.index, files) if self.index and not self.verify else pa.repeat("", len(files))
        places = pc.index_in(files["source"], before.files["source"])
        same = pc.fill_null(pc.equal(before.files["md5"].take(places), md5), False)
        md5 = pc.if_else(same, md5, "")
        return md5, before.take(places.filter(pc.not_equal(md5, "")).to_numpy())

    def hash_only(self, files: pa.Table) -> None:
        """Find the MD5 of files (FILES) that are not read, and are part of what DVC hashes."""
        self.unread = with_digests(self.sources, files, None if self.verify else self.index)

    def seen(self) -> pa.Table:
        """Return all files (KNOWN) whose content is known, read or not."""
        files = pa.concat_tables([self.files.select(KNOWN.names), self.unread])
        return files.filter(pc.not_equal(files["md5"], ""))

    def open(self, files: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Read these files (FILES) now, into runs; their rows of READ and their entries, in that order."""
        first = len(list(self.folder.glob("*.entries")))
        parts = groups(files["bytes"].to_pylist(), max(GROUP_BYTES, GROUP_BYTES_A_SHARD << self.shard_bits))
        stems = [self.folder / f"{first + i:06d}" for i in range(len(parts))]
        jobs = Jobs(stems, (self.sources, self.max_bytes, self.shard_bits), files["source"], parts)
        self.execute(read_group, jobs, "collect")
        self.runs = sorted(self.folder.glob("*.documents"))
        made = {
            kind: pa.concat_tables([schema.empty_table(), *(read_batch(stem.with_name(f"{stem.name}.{kind}"), 0) for stem in stems)])
            for kind, schema in (("files", READ), ("entries", ENTRIES))
        }
        return made["files"], made["entries"]

    def open_again(self, places: np.ndarray) -> None:
        """Read those of these files (rows of `files`) into runs that have not been opened."""
        missing = self.files.take(pa.array(places[places < self.kept]))
        if len(missing):
            self.open(missing)

    def remember(self, memory: Memory) -> None:
        if self.index:
            save(self.index, self.seen(), content_named_in(Path(f"{self.sources}.dvc")))
        if self.file:
            memory.save(self.file)


def read_group(stem: Path, sources: Path, max_bytes: int, shard_bits: int, *files: Path) -> None:
    """Read `files` into runs named after `stem`, and into `<stem>.entries` and `<stem>.files` what they say (ENTRIES) and what
    they are (READ), their MD5 "" where one could not be read or was changed meanwhile."""
    runs = Runs(stem, shard_bits)
    entries: list[tuple[object, ...]] = []
    read = []
    for path in files:
        before = len(entries)
        try:
            status, md5 = status_of(path), md5_of(path)
        except OSError:
            status, md5 = (0, 0, 0, 0), ""
        for row in _rows(path, sources, max_bytes):
            entries.append(entry_of(row))
            if isinstance(row, Document):
                runs.add(row)
        if md5 and status_of(path) != status:
            md5 = ""
        read.append((source_of(path, sources), *unsigned(status), md5, len(entries) - before))
    runs.flush()
    for kind, rows, schema in (("files", read, READ), ("entries", entries, ENTRIES)):
        write_run([table_of(rows, schema)], stem.with_name(f"{stem.name}.{kind}"))


def _rows(path: Path, sources: Path, max_bytes: int) -> Iterator[Document | Refused]:
    if media_type(path) == JSONL:
        blank = True
        for row in read_jsonl(path, sources, max_bytes):
            blank = False
            yield row
        if blank:
            yield Refused(source_of(path, sources), "", size_or_zero(path), "empty", "nothing but blank lines")
    else:
        yield read_file(path, sources)


def _write_shards(cfg: CollectConfig, out: Path, store: Store, reader: Reader, memory: Memory) -> int:
    """Write every shard; those that are not in the store are put together from what was read now and what they were before."""
    parts = _parts(memory, cfg.shard_bits)
    jobs = [(index, name_of(keys_of(part))) for index, part in enumerate(parts)]
    missing = store.missing(write_shard, [(*job, Unkeyed(None)) for job in jobs])
    previous = {i: store.path_of(*reader.shards[i]) for i in missing if len(reader.shards) == len(jobs)}
    nowhere = [parts[i]["file"].to_numpy() for i in missing if previous.get(i) is None]  # no longer in the cache as it was
    reader.open_again(np.unique(np.concatenate([np.zeros(0, np.int32), *nowhere])))
    where = {i: Where(keys_of(parts[i]), previous.get(i), tuple(reader.runs)) for i in missing}
    del parts
    pa.default_memory_pool().release_unused()
    return sum(store.map(write_shard, [(*job, Unkeyed(where.get(job[0]))) for job in jobs], out, "shards"))


def _parts(memory: Memory, bits: int) -> list[pa.Table]:
    """For each shard its documents, in the order of their ids: LISTED, and the row of each one's file."""
    entries = memory.entries.select(LISTED).append_column("file", memory.file_of_entries())
    documents = entries.take(pc.sort_indices(entries["id"]))
    refused = pc.sum(pc.equal(documents["id"], "")).as_py() or 0  # they have no id, so they come first
    documents = documents.slice(refused)
    return [documents.slice(first, last - first) for first, last in pairwise(bounds(documents["id"], bits).tolist())]


def _write_quarantine(out: Path, rows: list[Refused], entries: pa.Table) -> dict[str, int]:
    """Write quarantine.parquet, sorted by source, and the list of it, from the survey's rows and the readers'; counts by reason."""
    table = pa.concat_tables([table_of(rows, QUARANTINE), entries.select(QUARANTINE.names)]).combine_chunks()
    table = table.take(pc.sort_indices(table, [("source", "ascending"), ("reason", "ascending")]))
    write_table(table, out / "quarantine.parquet")
    write_list(table, out / LIST)
    return _counts(table["reason"])


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in sorted(column.value_counts().to_pylist(), key=lambda item: item["values"])}


def _clear(out: Path) -> None:
    """Remove what an earlier run left: with other parameters its shards would stand beside the new ones."""
    for folder in (out / ".partial", out / "quarantine"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in (*out.glob("*.parquet*"), out / SOURCES_AS_READ):
        path.unlink(missing_ok=True)


def _nothing(sources: Path, out: Path, refused: list[Refused], quarantined: dict[str, int]) -> str:
    if not quarantined:
        return f"{sources} holds no documents: put files ({' '.join(MEDIA_TYPES)}) there, or run `privllm demo` for some to try."
    reasons = ", ".join(f"{count} {reason}" for reason, count in quarantined.items())
    examples = ", ".join(row.source for row in sorted(refused)[:3])
    seen = f" (for example {examples})" if examples else ""
    lines = " A line of JSONL needs its text under the key `text`." if "no_text" in quarantined else ""
    return (
        f"none of the {sum(quarantined.values())} entries in {sources} can be read: {reasons}{seen}. "
        f"{out / 'quarantine' / LIST} says why for each; add files ({' '.join(MEDIA_TYPES)}), or run `privllm demo`.{lines}"
    )
