"""Documents that were added, changed or removed since the last build, and the shards that hold them.

The files of the last build are in the folder listing that DVC recorded. Only files that changed are
opened, and of those only files that hold many documents, whose former parts are in collect's memory. Experiments share
that memory, so it is used only where the file's bytes are equal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from privllm.collect.documents import CollectedDocument, is_hidden, path_of, source_of
from privllm.collect.file_index import recall
from privllm.collect.files import Survey, survey
from privllm.collect.read_file import read_file
from privllm.collect.readers.registry import is_code, reader_of
from privllm.collect.recipe import CollectConfig
from privllm.collect.seen_files import SeenFiles
from privllm.collect.source_file import ReadOptions
from privllm.core.records import document_id, shard_of
from privllm.core.work_paths import SOURCES_INDEX
from privllm.engine.cache import Cache
from privllm.engine.digests import md5_of
from privllm.engine.extensions import Extensions, extensions_for
from privllm.engine.libraries_apart import code_digest
from privllm.engine.store import Store

EMPTY = "d41d8cd98f00b204e9800998ecf8427e"  # the MD5 of no bytes
Contents = Mapping[str, str]  # a digest by source


class Changes(NamedTuple):
    """Sources of documents, sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]

    def shards(self, bits: int) -> int:
        """Return how many of `2**bits` shards hold one of the documents."""
        sources = [*self.added, *self.changed, *self.removed]
        return len({shard_of(document_id(source), bits) for source in sources})


class LastCollect(NamedTuple):
    """The memory and parameters of collect's last run."""

    memory: SeenFiles
    bits: int  # the corpus was cut into 2**bits shards
    cfg: CollectConfig  # that it ran with


def last_collect(cache: Cache, code: bytes | None, section: Mapping[str, Any]) -> LastCollect:
    """Look up collect's last run by the fingerprint `code` and the parameters that it ran with.

    The memory is empty where it is lost.
    """
    names = {field.name for field in fields(CollectConfig)}
    cfg = CollectConfig(**{name: value for name, value in section.items() if name in names})
    note = Store(cache, code_digest("collect", code)).note(*map(str, cfg.memory)) if code else None
    memory = SeenFiles.load(note) if note else SeenFiles.empty()
    return LastCollect(memory, cfg.shard_bits, cfg)


def changes_since(last: LastCollect, recorded: Contents | None, sources: Path) -> Changes | None:
    """Return how the documents in `sources` differ from `recorded`, {path below it: MD5}.

    Where `recorded` is lost they are compared with `last`; None where that is lost too.
    """
    memory, _, cfg = last
    if recorded is None and not len(memory.files):
        return None
    extensions = extensions_for("READERS")
    files_now = survey(sources, cfg.max_bytes, extensions, cfg.options)
    digests_now = _digests_now(files_now, sources)
    remembered = dict(zip(*(memory.files[name].to_pylist() for name in ("source", "md5")), strict=True))
    positions = {source: position for position, source in enumerate(remembered)}
    digests_before = remembered
    if recorded is not None:
        # Refused for name, size or kind, so most likely refused before.
        refused = {row.source for row in files_now.refused if row.reason != "empty"}
        digests_before = dict(_readable(recorded, sources, refused, extensions, cfg.options))
    documents_before: dict[str, str] = {}
    documents_now: dict[str, str] = {}
    for file in {name for name, _ in digests_before.items() ^ digests_now.items()}:
        parts: dict[str, str] = {}
        if file in digests_now and _holds_many(file):
            parts = dict(_parts(path_of(file, sources), sources, cfg, extensions))
            documents_now |= parts
        elif file in digests_now:
            documents_now[file] = digests_now[file]
        if file in digests_before:
            former_parts: dict[str, str] = {}
            if _holds_many(file) and remembered.get(file) == digests_before[file]:
                former_parts = _documents_of(memory, positions[file])
            # Without its former parts, all parts of a file count as changed, or a removed file as one document.
            documents_before |= former_parts or dict.fromkeys(parts, "") or {file: digests_before[file]}
    return _compare(documents_before, documents_now)


def _compare(before: Contents, now: Contents) -> Changes:
    added = sorted(now.keys() - before.keys())
    removed = sorted(before.keys() - now.keys())
    changed = [name for name in sorted(before.keys() & now.keys()) if before[name] != now[name]]
    return Changes(added, changed, removed)


def _digests_now(files: Survey, sources: Path) -> dict[str, str]:
    """Return the MD5 of each file by source, without reading files that look unchanged since the last build."""
    digests = {}
    names, remembered = files.files["source"].to_pylist(), recall(SOURCES_INDEX, files.files).to_pylist()
    for source, md5 in zip(names, remembered, strict=True):
        digests[source] = md5 or md5_of(path_of(source, sources))
    return digests


def _readable(
    recorded: Contents, sources: Path, refused: set[str], extensions: Extensions, options: ReadOptions
) -> Iterator[tuple[str, str]]:
    """Yield (source, MD5) of the recorded files that collect reads."""
    for relative, md5 in recorded.items():
        reader = reader_of(Path(relative), extensions)
        if is_hidden(relative) or reader is None or (is_code(reader) and not options.code) or md5 == EMPTY:
            continue
        source = source_of(sources / relative, sources)
        if source not in refused:
            yield source, md5


def _holds_many(source: str) -> bool:
    reader = reader_of(source)
    return reader is not None and reader.holds_many


def _parts(path: Path, sources: Path, cfg: CollectConfig, extensions: Extensions) -> Iterator[tuple[str, str]]:
    for row in read_file(path, sources, cfg.max_bytes, extensions, cfg.options):
        if isinstance(row, CollectedDocument):
            yield row.source, row.digest


def _documents_of(memory: SeenFiles, position: int) -> dict[str, str]:
    """Return {source: digest} of the documents that were made of the file at a position."""
    entries = memory.take(np.array([position])).entries
    entries = entries.filter(pc.equal(entries["reason"], ""))
    return dict(zip(entries["source"].to_pylist(), entries["digest"].to_pylist(), strict=True))
