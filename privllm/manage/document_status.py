"""Status of documents in the current build, read from the tables in data/.

Shards are chosen by id, so one document costs one shard of each stage. Texts are never read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.records import document_id, shard_name, shard_of, whole_source
from privllm.core.tables import read_table, shards_of
from privllm.manage.source_files import is_below

DATA = Path("data")
CLUSTERS = "dedup/clusters/clusters.parquet"
QUARANTINE = "collect/quarantine/quarantine.parquet"
ABSENT, UNBUILT, UNFINISHED = "not in the build", "not built yet", "the build stops here"
COLLECTED = ["id", "source", "media_type", "encoding", "digest"]
FOLDERS = ("collect", "clean", "clean/dropped")  # where a document, or a section of one, has its first row
CLEANED = ["id", "source", "media_type", "language", "language_score", "placeholders"]
Row = dict[str, Any]


@dataclass
class Fate:
    """What each stage made of one document; None where the document, or the build, did not get that far."""

    id: str
    source: str  # "" where only the id is known
    fate: str  # a split, "quarantined", "dropped by clean", "dropped by dedup", ABSENT, UNBUILT or UNFINISHED
    why: str  # reason and detail of what was quarantined or dropped
    collect: Row | None = None  # media_type, encoding, digest, shard
    quarantine: Row | None = None  # digest, bytes, reason, detail
    clean: Row | None = None  # kept, language, language_score, placeholders, reason, detail
    dedup: Row | None = None  # kept, reason, cluster, survivor (id), survivor_source
    pack: Row | None = None  # split, tokens, copies, rows (runs [first, last], of all copies), file
    annotated: bool | None = None


def sources_of(root: Path) -> dict[str, str]:
    """Return {id: source} of everything that was collected or quarantined, and of sections."""
    sources = {document_id(row["source"]): row["source"] for row in _quarantine(root)}
    for folder in FOLDERS:
        for path in shards_of(root / DATA / folder):
            table = read_table(path, ["id", "source"])
            sources.update(zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True))
    return sources


def located(root: Path, name: str) -> dict[str, str]:
    """Return {id: source} of the documents that are `name` or lie below it.

    A document that was cut is replaced by its sections. A file is looked up in its shard; for a folder all shards are
    read.
    """
    identifier = document_id(name)
    for folder in FOLDERS:
        if identifier in rows_of(root / DATA / folder, [identifier], ["id"]):
            return sections_of(root, identifier, name) or {identifier: name}
    found = {identifier: source for identifier, source in sources_of(root).items() if is_below(source, name)}
    cut = {whole_source(source) for source in found.values() if whole_source(source) != source}
    return {identifier: source for identifier, source in found.items() if source not in cut}


def sections_of(root: Path, identifier: str, source: str) -> dict[str, str]:
    """Return {id: source} of the sections that a document was cut into; they lie in its shard."""
    sections = {}
    for folder in FOLDERS[1:]:
        path = root / DATA / folder / _shard(root / DATA / folder, identifier)
        if not path.is_file():
            continue
        table = read_table(path, ["id", "source"])
        table = table.filter(pc.starts_with(table["source"], f"{source}#s:"))
        for section, name in zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True):
            if whole_source(name) == source:
                sections[section] = name
    return sections


def fates(root: Path, documents: dict[str, str]) -> list[Fate]:
    """Return what became of `documents`, {id: source or ""}, in the order of their sources."""
    tables = _StageTables(root, list(documents))
    result = [tables.fate(identifier, source) for identifier, source in documents.items()]
    return sorted(result, key=lambda fate: (fate.source, fate.id))


class _StageTables:
    """Rows of some documents in the tables of every stage, by id."""

    def __init__(self, root: Path, ids: list[str]) -> None:
        data = root / DATA
        self.collect_folder = data / "collect"
        self.collected = rows_of(self.collect_folder, ids, COLLECTED)
        self.quarantined = {document_id(row["source"]): row for row in _quarantine(root)}
        self.cleaned = rows_of(data / "clean", ids, CLEANED)
        self.dropped = rows_of(data / "clean/dropped", ids, [*CLEANED, "reason", "detail"])
        self.clusters = _clusters(root, ids)
        self.packed = _packed(data / "pack", ids)
        self.annotated = rows_of(data / "annotate", ids, ["id"])
        self.has_annotations = (data / "annotate").is_dir()

    def fate(self, identifier: str, source: str) -> Fate:
        """Follow one document from stage to stage; the last stage that has it decides its fate."""
        fate = Fate(identifier, source, ABSENT, "")
        self._follow_collect(fate)
        self._follow_clean(fate)
        if row := self.clusters.get(identifier):
            fate.dedup = row
            if not row["kept"]:
                survivor = row["survivor_source"] or row["survivor"]
                fate.fate, fate.why = "dropped by dedup", f"{row['reason']}: {survivor} stays"
        if row := self.packed.get(identifier):
            fate.pack, fate.fate = row, row["split"]
            fate.annotated = identifier in self.annotated if self.has_annotations else None
        return fate

    def _follow_collect(self, fate: Fate) -> None:
        if row := self.collected.get(fate.id):
            fate.source, fate.fate = row.pop("source"), UNFINISHED
            shard = _shard(self.collect_folder, fate.id)
            fate.collect = row | {"shard": f"data/collect/{shard}"}
        elif row := self.quarantined.get(fate.id):
            fate.source, fate.fate, fate.why = row.pop("source"), "quarantined", _why(row)
            fate.quarantine = row

    def _follow_clean(self, fate: Fate) -> None:
        if row := self.cleaned.get(fate.id):
            fate.source, fate.fate = row.pop("source"), UNFINISHED
            fate.clean = row | {"kept": True, "reason": "", "detail": ""}
        elif row := self.dropped.get(fate.id):
            fate.source = row.pop("source")
            fate.fate, fate.why = "dropped by clean", _why(row)
            fate.clean = row | {"kept": False}


def rows_of(folder: Path, ids: Iterable[str], columns: list[str]) -> dict[str, Row]:
    """Return {id: row} of those of `ids` that are in a folder's shards; rows without their id."""
    by_shard: dict[str, list[str]] = {}
    for identifier in ids:
        by_shard.setdefault(_shard(folder, identifier), []).append(identifier)
    rows: dict[str, Row] = {}
    for name, members in by_shard.items():
        if (folder / name).is_file():
            table = read_table(folder / name, columns)
            selected = table.filter(pc.is_in(table["id"], pa.array(members, pa.string())))
            rows.update((row.pop("id"), row) for row in selected.to_pylist())
    return rows


def _shard(folder: Path, identifier: str) -> str:
    bits = max(0, len(shards_of(folder)) - 1).bit_length()
    return shard_name(shard_of(identifier, bits))


def _quarantine(root: Path) -> list[Row]:
    path = root / DATA / QUARANTINE
    return read_table(path).to_pylist() if path.is_file() else []


def _clusters(root: Path, ids: list[str]) -> dict[str, Row]:
    """Return the rows of dedup's clusters for `ids`, each with the survivor of its cluster."""
    path = root / DATA / CLUSTERS
    if not path.is_file():
        return {}
    table = read_table(path)
    rows = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))).to_pylist()
    names = pa.array({row["cluster"] for row in rows}, pa.string())
    kept_rows = table.filter(pc.and_(table["kept"], pc.is_in(table["cluster"], names)))
    survivors = dict(zip(kept_rows["cluster"].to_pylist(), kept_rows["id"].to_pylist(), strict=True))
    sources = rows_of(root / DATA / "clean", survivors.values(), ["id", "source"])
    clusters = {}
    for row in rows:
        survivor = survivors.get(row["cluster"], "")
        source = sources.get(survivor, {}).get("source", "")
        identifier = row.pop("id")
        clusters[identifier] = row | {"survivor": survivor, "survivor_source": source}
    return clusters


def _packed(folder: Path, ids: list[str]) -> dict[str, Row]:
    """Return split, tokens, copies, rows and file of `ids`."""
    packed = rows_of(folder / "documents", ids, ["id", "split", "tokens", "copies"])
    by_file: dict[Path, list[str]] = {}
    for identifier, document in packed.items():
        name = Path(_shard(folder / "documents", identifier)).stem
        by_file.setdefault(folder / document["split"] / f"{name}.arrow", []).append(identifier)
    for file, members in by_file.items():
        runs = _runs_of_rows(file, members)
        for identifier in members:
            split = packed[identifier]["split"]
            packed[identifier] |= {"rows": runs[identifier], "file": f"data/pack/{split}/{file.name}"}
    return packed


def _runs_of_rows(file: Path, ids: list[str]) -> dict[str, list[list[int]]]:
    """Return the rows of a shard that hold something of each document, as runs [first, last]."""
    if not file.is_file():
        return {identifier: [] for identifier in ids}
    with pa.memory_map(str(file)) as mapped:
        pieces = pa.ipc.open_stream(mapped).read_all()["pieces"].combine_chunks()
    row_of_piece = pc.list_parent_indices(pieces).to_numpy()
    document_of_piece = pc.list_flatten(pieces).field("id")
    runs = {}
    for identifier in ids:
        is_own = pc.equal(document_of_piece, identifier).to_numpy(zero_copy_only=False)
        rows = np.unique(row_of_piece[is_own])
        ends = np.flatnonzero(np.diff(rows) > 1) + 1
        runs[identifier] = [[int(run[0]), int(run[-1])] for run in np.split(rows, ends) if len(run)]
    return runs


def _why(row: Row) -> str:
    return f"{row['reason']}: {row['detail']}" if row["detail"] else row["reason"]
