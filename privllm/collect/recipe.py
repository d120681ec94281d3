"""collect: every document below the sources as one row, whatever its format and encoding.

`collect` reads each file once, in groups, on all cores, and sorts what they say into shards by id. What cannot be
read is kept as a row of the quarantine with a named reason; nothing is passed over in silence. Text is as it came:
HTML is still HTML here, and personal data is still in it.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.files import (
    JSONL,
    MEDIA_TYPES,
    Document,
    Refused,
    Source,
    Survey,
    media_type,
    read_file,
    size_or_zero,
    source_of,
    survey,
)
from privllm.collect.jsonl import read_jsonl
from privllm.collect.memory import ENTRIES, FileEntries, Memory, entry_of
from privllm.collect.runs import Runs, bounds, read_batch, table_of, write_run
from privllm.collect.shards import Where, keys_of, name_of, write_shard
from privllm.core.digests import Digests, Status, md5_of, status_of
from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.records import MAX_SHARD_BITS, QUARANTINE, shard_name
from privllm.core.report import balance
from privllm.core.store import NO_STORE, Store, Unkeyed
from privllm.core.tables import by_id, write_table

DIGESTS_FILE = Path(".privllm/sources.json")
GROUP_BYTES = 8 << 20
GROUP_BYTES_A_SHARD = 1 << 14  # where shards are many, runs should be few: each shard's writer opens all of them
GROUP_FILES = 2000
LISTED = ["id", "digest", "encoding", "source"]  # what says which documents a shard is made of


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
    found = survey(sources, max_bytes)
    _clear(out)
    partial = out / ".partial"
    partial.mkdir(parents=True)
    try:
        reader = Reader(cfg, sources, store, verify, partial)
        memory = reader.read(found.files)
        entries, is_document = memory.entries, pc.equal(memory.entries["reason"], "")
        quarantined = _write_quarantine(out / "quarantine", found.refused, entries.filter(pc.invert(is_document)))
        made = _write_shards(cfg, out, store, reader, by_id(entries.select(LISTED).filter(is_document)))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    reader.remember(memory._replace(shards=[store.object_of(out / shard_name(index)) for index in range(2**cfg.shard_bits)]))
    balance(len(entries) + len(found.refused), made, sum(quarantined.values()))
    if not made:
        raise UserError(_nothing(sources, out, found, quarantined))
    documents = entries.select(["characters", "media_type", "encoding"]).filter(is_document)
    return {
        "files": len(found.files) + len(found.refused),
        "ignored": found.ignored,
        "entries": len(entries) + len(found.refused),
        "documents": made,
        "quarantined": quarantined,
        "characters": pc.sum(documents["characters"]).as_py(),
        "by_media_type": _counts(documents["media_type"]),
        "by_encoding": _counts(documents["encoding"]),
    }


class Reader:
    """Reads what is not known: from last time's memory, or from this time's runs."""

    def __init__(self, cfg: CollectConfig, sources: Path, store: Store, verify: bool, folder: Path) -> None:
        self.sources, self.folder, self.execute = sources, folder, store.executor
        self.max_bytes, self.shard_bits = int(cfg.max_megabytes * 1e6), cfg.shard_bits
        self.digests = Digests(DIGESTS_FILE if store.cache else None, verify)
        self.file = store.note("collect", self.max_bytes, cfg.shard_bits)
        self.before = Memory.load(self.file) if self.file else Memory.empty()
        self.paths: dict[str, Path] = {}  # of every file, by source
        self.opened: set[str] = set()  # sources
        self.runs: list[Path] = []

    def read(self, files: list[Source]) -> Memory:
        """What all files say, in the order of the files."""
        self.paths = {source_of(file.path, self.sources): file.path for file in files}
        changed: list[tuple[Path, int]] = []
        for source, file in zip(self.paths, files, strict=True):
            known, md5 = self.before.files.get(source), self.digests.recall(file.path, file.status)
            if known is None or known.md5 != md5:
                changed.append((file.path, file.bytes))
        fresh = self.open(changed)
        kept = [source for source in self.paths if source not in fresh.files]
        parts = {**{source: self.before.files[source] for source in kept}, **fresh.files}
        return Memory.of(parts, pa.concat_tables([self.before.take(kept), fresh.entries]).combine_chunks())

    def open(self, files: list[tuple[Path, int]]) -> Memory:
        """Read these files now, into runs; what they say."""
        first = len(list(self.folder.glob("*.entries")))
        parts = groups(files, max(GROUP_BYTES, GROUP_BYTES_A_SHARD << self.shard_bits))
        stems = [self.folder / f"{first + i:06d}" for i in range(len(parts))]
        jobs = [(stem, self.sources, self.max_bytes, self.shard_bits, *part) for stem, part in zip(stems, parts, strict=True)]
        read: dict[str, FileEntries] = {}
        for path, md5, status, rows in chain.from_iterable(self.execute(read_group, jobs, "collect")):
            read[source_of(path, self.sources)] = FileEntries(md5, 0, rows)
            if md5:
                self.digests.learn(path, md5, status)
        self.opened |= read.keys()
        self.runs = sorted(self.folder.glob("*.documents"))
        entries = (read_batch(stem.with_name(f"{stem.name}.entries"), 0) for stem in stems)
        return Memory.of(read, pa.concat_tables([ENTRIES.empty_table(), *entries]))

    def remember(self, memory: Memory) -> None:
        self.digests.save()
        if self.file:
            memory.save(self.file)


def read_group(stem: Path, sources: Path, max_bytes: int, shard_bits: int, *files: Path) -> list[tuple[Path, str, Status, int]]:
    """Read `files` into runs and entries named after `stem`; for each file its path, MD5 ("" where it could not be read
    or was changed meanwhile), status, and number of entries."""
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
        read.append((path, md5, status, len(entries) - before))
    runs.flush()
    write_run([table_of(entries, ENTRIES)], stem.with_name(f"{stem.name}.entries"))
    return read


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


def groups(files: list[tuple[Path, int]], most: int) -> list[list[Path]]:
    """Neighbouring files in groups that are worth a job each, and have `most` bytes unless one file alone has more."""
    target = min(most, max(1 << 20, sum(size for _, size in files) // 16))
    made: list[list[Path]] = []
    held = 0
    for path, size in files:
        if not made or held + size > target or len(made[-1]) >= GROUP_FILES:
            made.append([])
            held = 0
        made[-1].append(path)
        held += size
    return made


def _write_shards(cfg: CollectConfig, out: Path, store: Store, reader: Reader, documents: pa.Table) -> int:
    """Write every shard; those that are not in the store are put together from what was read now and what they were before."""
    edges = pairwise(bounds(documents["id"], cfg.shard_bits).tolist())
    parts = [documents.slice(first, last - first) for first, last in edges]
    wanted = [keys_of(part) for part in parts]
    jobs = [(index, name_of(keys)) for index, keys in enumerate(wanted)]
    missing = store.missing(write_shard, [(*job, Unkeyed(None)) for job in jobs])
    previous = {i: store.path_of(*reader.before.shards[i]) for i in missing if len(reader.before.shards) == len(jobs)}
    _read_what_is_nowhere(reader, [parts[i]["source"] for i in missing if previous.get(i) is None])
    where = {i: Where(wanted[i], previous.get(i), tuple(reader.runs)) for i in missing}
    return sum(store.map(write_shard, [(*job, Unkeyed(where.get(job[0]))) for job in jobs], out, "shards"))


def _read_what_is_nowhere(reader: Reader, shards: list[pa.ChunkedArray]) -> None:
    """Open the unchanged files of documents whose shard has to be written and is no longer in the cache as it was."""
    files = {source if source in reader.paths else source.rpartition("#")[0] for shard in shards for source in shard.to_pylist()}
    paths = sorted(reader.paths[file] for file in files - reader.opened)
    if paths:
        reader.open([(path, path.stat().st_size) for path in paths])


def _write_quarantine(out: Path, rows: list[Refused], entries: pa.Table) -> dict[str, int]:
    """Write quarantine.parquet, sorted by source, from the survey's rows and the readers'; counts by reason."""
    table = pa.concat_tables([table_of(rows, QUARANTINE), entries.select(QUARANTINE.names)]).combine_chunks()
    table = table.take(pc.sort_indices(table, [("source", "ascending"), ("reason", "ascending")]))
    write_table(table, out / "quarantine.parquet")
    return _counts(table["reason"])


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in sorted(column.value_counts().to_pylist(), key=lambda item: item["values"])}


def _clear(out: Path) -> None:
    """Remove what an earlier run left: with other parameters its shards would stand beside the new ones."""
    for folder in (out / ".partial", out / "quarantine"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in out.glob("*.parquet*"):
        path.unlink()


def _nothing(sources: Path, out: Path, found: Survey, quarantined: dict[str, int]) -> str:
    if not quarantined:
        return f"{sources} holds no documents: put files ({' '.join(MEDIA_TYPES)}) there, or run `privllm demo` for some to try."
    reasons = ", ".join(f"{count} {reason}" for reason, count in quarantined.items())
    examples = ", ".join(row.source for row in sorted(found.refused)[:3])
    seen = f" (for example {examples})" if examples else ""
    lines = " A line of JSONL needs its text under the key `text`." if "no_text" in quarantined else ""
    return (
        f"none of the {sum(quarantined.values())} entries in {sources} can be read: {reasons}{seen}. "
        f"{out / 'quarantine' / 'quarantine.parquet'} says why for each; add files ({' '.join(MEDIA_TYPES)}), or run `privllm demo`.{lines}"
    )
