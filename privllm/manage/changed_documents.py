"""Which documents were added, changed or removed since the last build, and how much work hangs on them.

The last build's files are named by the folder that DVC recorded. Only files that changed are opened, and of those only JSON
lines, whose former lines stand in collect's memory. That memory is shared by experiments, so it counts for equal bytes only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from privllm.collect.documents import CollectedDocument, path_of, source_of
from privllm.collect.file_index import recall
from privllm.collect.files import survey
from privllm.collect.readers.jsonl import JSONL, read_jsonl
from privllm.collect.readers.registry import media_type
from privllm.collect.recipe import CollectConfig
from privllm.collect.seen_files import SeenFiles
from privllm.core.records import document_id, shard_of
from privllm.core.seed import digest
from privllm.core.work_paths import SOURCES_INDEX
from privllm.engine.cache import Cache
from privllm.engine.digests import md5_of
from privllm.engine.store import Store

EMPTY = "d41d8cd98f00b204e9800998ecf8427e"  # the MD5 of no bytes
Contents = Mapping[str, str]  # a digest by source


class Changes(NamedTuple):
    """Sources of documents, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]

    def shards(self, bits: int) -> int:
        """How many of `2**bits` shards hold one of them."""
        return len({shard_of(document_id(source), bits) for source in (*self.added, *self.changed, *self.removed)})


class Last(NamedTuple):
    """What collect kept of the time when it ran last."""

    memory: SeenFiles
    bits: int  # the corpus was cut into 2**bits shards
    max_bytes: int  # of a file, or a line of JSON lines


def last_run(cache: Cache, code: bytes | None, section: Mapping[str, Any]) -> Last:
    """Found by the fingerprint that collect ran with and by its section of the parameters; an empty memory where it is lost."""
    cfg = CollectConfig(**{field.name: section[field.name] for field in fields(CollectConfig) if field.name in section})
    max_bytes = int(cfg.max_megabytes * 1e6)
    note = Store(cache, digest(code)).note("collect", max_bytes, cfg.shard_bits) if code else None
    return Last(SeenFiles.load(note) if note else SeenFiles.empty(), cfg.shard_bits, max_bytes)


def changes_since(last: Last, recorded: Contents | None, sources: Path) -> Changes | None:
    """Documents in `sources` against `recorded` {path below it: MD5}, or where that is lost against `last`; None where both are."""
    memory, _, max_bytes = last
    if recorded is None and not len(memory.files):
        return None
    found = survey(sources, max_bytes)
    known = zip(found.files["source"].to_pylist(), recall(SOURCES_INDEX, found.files).to_pylist(), strict=True)
    now = {source: md5 or md5_of(path_of(source, sources)) for source, md5 in known}
    refused = {row.source for row in found.refused if row.reason != "empty"}  # by name, size or kind, so most likely as before
    remembered = dict(zip(*(memory.files[name].to_pylist() for name in ("source", "md5")), strict=True))
    places = {source: place for place, source in enumerate(remembered)}
    before = remembered if recorded is None else dict(_documents(recorded, sources, refused))
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    for file in {name for name, _ in before.items() ^ now.items()}:
        lines = dict(_lines(path_of(file, sources), sources, max_bytes)) if file in now and _is_jsonl(file) else {}
        if file in now:
            new |= lines if _is_jsonl(file) else {file: now[file]}
        if file in before:
            # Where its former lines are forgotten, all lines of today count as changed, or a removed file as one document.
            same = _is_jsonl(file) and remembered.get(file) == before[file]
            old |= (_entries(memory, places[file]) if same else {}) or dict.fromkeys(lines, "") or {file: before[file]}
    both = sorted(old.keys() & new.keys())
    return Changes(sorted(new.keys() - old.keys()), [name for name in both if old[name] != new[name]], sorted(old.keys() - new.keys()))


def _documents(recorded: Contents, sources: Path, refused: set[str]) -> Iterator[tuple[str, str]]:
    """Of the files that DVC recorded those that collect reads."""
    for relative, md5 in recorded.items():
        hidden = any(part.startswith(".") for part in PurePosixPath(relative).parts)
        if hidden or media_type(Path(relative)) is None or md5 == EMPTY:
            continue
        if (source := source_of(sources / relative, sources)) not in refused:
            yield source, md5


def _is_jsonl(source: str) -> bool:
    return media_type(Path(source)) == JSONL


def _lines(path: Path, sources: Path, max_bytes: int) -> Iterator[tuple[str, str]]:
    for row in read_jsonl(path, sources, max_bytes):
        if isinstance(row, CollectedDocument):
            yield row.source, row.digest


def _entries(memory: SeenFiles, place: int) -> dict[str, str]:
    """The documents that a file was made of."""
    entries = memory.take(np.array([place])).entries
    entries = entries.filter(pc.equal(entries["reason"], ""))
    return dict(zip(entries["source"].to_pylist(), entries["digest"].to_pylist(), strict=True))
