"""collect: every document below the sources as one row, whatever its format and encoding.

`collect` reads each file once, in groups, on all cores, and sorts the documents into shards by id.
What cannot be read is kept as a row of the quarantine with a named reason; nothing is left out
silently. Text is as it came: HTML is still HTML here, and personal data is still in it.
"""

import shutil
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.documents import Quarantined
from privllm.collect.dvc_content import content_of
from privllm.collect.files import survey
from privllm.collect.incremental_reader import IncrementalReader
from privllm.collect.read_jobs import ReadSettings
from privllm.collect.reader_versions import versions_installed
from privllm.collect.readers.registry import suffixes
from privllm.collect.same_names import without_same_names
from privllm.collect.scanned_pages import NEEDS_OCR, count_in
from privllm.collect.seen_files import PASSED_OVER, SeenFiles
from privllm.collect.shard_runs import bounds, table_of
from privllm.collect.shards import IDENTITY, TextLocations, keys_of, name_of, write_shard
from privllm.collect.slow_files import slowest_files
from privllm.collect.source_file import ReadOptions
from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.printable import say
from privllm.core.records import MAX_SHARD_BITS, QUARANTINE, shard_name
from privllm.core.report import balance, write_json
from privllm.core.tables import write_table
from privllm.core.work_paths import SOURCES_INDEX
from privllm.engine.dropped import write_list
from privllm.engine.extensions import NO_EXTENSIONS, Extensions
from privllm.engine.programs import are_languages
from privllm.engine.source_guard import SOURCES_AS_READ
from privllm.engine.store import NO_STORE, Store, Unkeyed

LIST = "quarantine.txt"  # beside quarantine.parquet


@dataclass
class CollectConfig:
    shard_bits: int = 4  # the corpus is cut into 2^shard_bits shards, [0, 12]; a change rebuilds everything
    max_megabytes: float = 64  # a longer file, or line of a JSONL, is quarantined; (0, 1024]
    text_key: str = "text"  # where the text is: key of JSON objects, column of tables
    code: bool = False  # read source code and notebooks
    ocr: list[str] = field(default_factory=list)  # languages of scanned pages, such as [eng, deu]; empty: not read

    def __post_init__(self) -> None:
        allowed = f"a whole number from 0 to {MAX_SHARD_BITS}"
        require(0 <= self.shard_bits <= MAX_SHARD_BITS, "collect.shard_bits", allowed)
        require(0 < self.max_megabytes <= 1024, "collect.max_megabytes", "above 0 and at most 1024")
        require(are_languages(self.ocr), "collect.ocr", "names of tesseract's languages, each once, such as [eng, deu]")
        require(bool(self.text_key.strip()), "collect.text_key", "a name such as text or body")

    @property
    def max_bytes(self) -> int:
        """The limit in bytes."""
        return int(self.max_megabytes * 1e6)

    @property
    def options(self) -> ReadOptions:
        """What readers are told."""
        return ReadOptions(self.text_key, self.code, tuple(self.ocr))

    @property
    def memory(self) -> tuple[str | int, ...]:
        """What the memory of the last run is kept by: it is of no use to a run with other values.

        `ocr` is not among them: it counts in the version of the reader that uses it.
        """
        return "collect", self.max_bytes, self.shard_bits, self.text_key, int(self.code)


def collect(
    cfg: CollectConfig,
    sources: Path,
    out: Path,
    store: Store = NO_STORE,
    verify: bool = False,
    extensions: Extensions = NO_EXTENSIONS,
) -> dict[str, Any]:
    """Read `sources` into `out/NNNNN.parquet` (DOCUMENTS) and `out/quarantine/` (QUARANTINE).

    Files that look as they did last time are not opened, unless `verify`. Returns counts: entries
    (files, and parts of files that hold many) = documents + quarantined. Raises UserError where no document is
    left.
    """
    if not sources.is_dir():
        raise UserError(f"{sources} is missing: put documents ({suffixes(extensions)}) there, or run `privllm demo`.")
    files, refused, ignored, unread = survey(sources, cfg.max_bytes, extensions, cfg.options)
    _clear(out)
    scratch = out / ".partial"
    scratch.mkdir(parents=True)
    note = store.note(*map(str, cfg.memory))
    index = SOURCES_INDEX if store.cache else None
    settings = ReadSettings(
        sources, cfg.max_bytes, cfg.shard_bits, extensions, cfg.options, versions_installed(cfg.options.ocr)
    )
    reader = IncrementalReader(settings, scratch, store.executor, note, index, verify)
    try:
        seen = without_same_names(reader.read(files))
        reader.hash_only(unread)
        if slowest := slowest_files(scratch):
            say(f"collect: {slowest}", err=True)
        del files, unread
        pa.default_memory_pool().release_unused()  # to the system: the next steps need as much again
        is_document = pc.equal(seen.entries["reason"], "")
        is_passed_over = pc.equal(seen.entries["reason"], PASSED_OVER)
        passed_over = pc.sum(is_passed_over).as_py() or 0
        is_refused = pc.invert(pc.or_(is_document, is_passed_over))
        quarantined = _write_quarantine(out / "quarantine", refused, seen.entries.filter(is_refused))
        document_count = _write_shards(cfg, out, store, reader, seen)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    reader.remember(seen._replace(shards=_written_shards(cfg, out, store)))
    entry_count = len(seen.entries) - passed_over + len(refused)
    balance(entry_count, document_count, sum(quarantined.values()))
    if not document_count:
        raise UserError(_no_document(sources, out, refused, quarantined, suffixes(extensions), cfg.text_key))
    write_json(out / SOURCES_AS_READ, {"md5": content_of(reader.hashed_files())})
    unread_scans = seen.entries.filter(pc.equal(seen.entries["reason"], NEEDS_OCR))["detail"]
    documents = seen.entries.select(["characters", "media_type", "encoding"]).filter(is_document)
    return {
        "files": len(seen.files) + len(refused),
        "ignored": ignored + passed_over,
        "entries": entry_count,
        "documents": document_count,
        "quarantined": quarantined,
        "scanned_pages": count_in(unread_scans.to_pylist()),
        "characters": pc.sum(documents["characters"]).as_py(),
        "by_media_type": _counts(documents["media_type"]),
        "by_encoding": _counts(documents["encoding"]),
    }


def _written_shards(cfg: CollectConfig, out: Path, store: Store) -> list[tuple[str, int]]:
    """Return (MD5, bytes) of every shard."""
    return [store.object_of(out / shard_name(index)) for index in range(2**cfg.shard_bits)]


def _write_shards(cfg: CollectConfig, out: Path, store: Store, reader: IncrementalReader, seen: SeenFiles) -> int:
    """Write every shard and return the number of documents.

    A shard that is not in the store is put together from the files read now and from its previous
    version. Where the previous version is no longer in the cache, the files of its documents are
    read again.
    """
    shards = _documents_by_shard(seen, cfg.shard_bits)
    names = [name_of(documents, cfg.text_key) for documents in shards]
    probes = [(index, name, Unkeyed(None)) for index, name in enumerate(names)]
    missing = store.missing(write_shard, probes)

    previous: dict[int, Path | None] = {}
    if len(reader.previous_shards) == len(shards):
        previous = {index: store.path_of(*reader.previous_shards[index]) for index in missing}
    unavailable = [shards[index]["file"].to_numpy() for index in missing if previous.get(index) is None]
    reader.read_again(np.unique(np.concatenate([np.zeros(0, np.int32), *unavailable])))

    runs = tuple(reader.runs)
    locations = {index: TextLocations(keys_of(shards[index]), previous.get(index), runs) for index in missing}
    del shards
    pa.default_memory_pool().release_unused()
    jobs = [(index, name, Unkeyed(locations.get(index))) for index, name in enumerate(names)]
    return sum(store.map(write_shard, jobs, out, "shards"))


def _documents_by_shard(seen: SeenFiles, bits: int) -> list[pa.Table]:
    """Return each shard's documents by id: IDENTITY, "reader", and "file", the row of a document's file."""
    entries = seen.entries.select([*IDENTITY, "reader"]).append_column("file", seen.file_of_entries())
    entries = entries.take(pc.sort_indices(entries["id"]))
    without_id = pc.sum(pc.equal(entries["id"], "")).as_py() or 0  # refused entries, which come first
    documents = entries.slice(without_id)
    ids = documents["id"]
    assert not pc.any(pc.equal(ids.slice(1), ids.slice(0, max(0, len(ids) - 1)))).as_py(), "two documents have one id"
    edges = bounds(documents["id"], bits).tolist()
    return [documents.slice(first, last - first) for first, last in pairwise(edges)]


def _write_quarantine(out: Path, refused: list[Quarantined], entries: pa.Table) -> dict[str, int]:
    """Write quarantine.parquet, sorted by source, and its list; return the counts by reason.

    `refused` comes from the survey, `entries` (ENTRIES) from the readers.
    """
    table = pa.concat_tables([table_of(refused, QUARANTINE), entries.select(QUARANTINE.names)]).combine_chunks()
    table = table.take(pc.sort_indices(table, [("source", "ascending"), ("reason", "ascending")]))
    write_table(table, out / "quarantine.parquet")
    write_list(table, out / LIST)
    return _counts(table["reason"])


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each value occurs, in the order of the values."""
    counts = {item["values"]: item["counts"] for item in column.value_counts().to_pylist()}
    return dict(sorted(counts.items()))


def _clear(out: Path) -> None:
    """Remove the files of an earlier run, which may have had more shards."""
    for folder in (out / ".partial", out / "quarantine"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in (*out.glob("*.parquet*"), out / SOURCES_AS_READ):
        path.unlink(missing_ok=True)


def _no_document(
    sources: Path,
    out: Path,
    refused: list[Quarantined],
    quarantined: dict[str, int],
    read_suffixes: str,
    text_key: str,
) -> str:
    """Return the message for sources without one document."""
    if not quarantined:
        return (
            f"{sources} holds no documents: put files ({read_suffixes}) there, or run `privllm demo` for some to try."
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in quarantined.items())
    names = ", ".join(row.source for row in sorted(refused)[:3])
    examples = f" (for example {names})" if names else ""
    hint = f" Lines of JSONL and rows of tables need their text under the key `{text_key}` (collect.text_key)."
    hint = hint if "no_text" in quarantined else ""
    return (
        f"none of the {sum(quarantined.values())} entries in {sources} can be read: {reasons}{examples}. "
        f"{out / 'quarantine' / LIST} says why for each; add files ({read_suffixes}), or run `privllm demo`.{hint}"
    )
