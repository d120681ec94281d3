"""What became of documents in the current build, read off the tables in data/ as they lie there.

Shards are chosen by id, so one document costs one shard of each stage. Texts are never read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.records import document_id, shard_name, shard_of
from privllm.core.split import SPLITS
from privllm.core.tables import read_table, shards_of
from privllm.manage.source_files import is_below
from privllm.tokens.mixture import order_of

DATA = Path("data")
CLUSTERS = "dedup/clusters/clusters.parquet"
QUARANTINE = "collect/quarantine/quarantine.parquet"
ABSENT, UNBUILT, UNFINISHED = "not in the build", "not built yet", "the build stops here"
Row = dict[str, Any]


@dataclass
class Fate:
    """One document's way. A part is None where the document, or the build, did not come so far."""

    id: str
    source: str  # "" where only the id is known
    fate: str  # a split, "quarantined", "dropped by clean", "dropped by dedup", ABSENT, UNBUILT or UNFINISHED
    why: str  # reason and detail of what was quarantined or dropped
    collect: Row | None = None  # media_type, encoding, digest, shard
    quarantine: Row | None = None  # digest, bytes, reason, detail
    clean: Row | None = None  # kept, language, language_score, placeholders, reason, detail
    dedup: Row | None = None  # kept, reason, cluster, survivor (id), survivor_source
    pack: Row | None = None  # split, tokens, rows ([first, last] or None), again (the rows of each further copy), file
    annotated: bool | None = None


def sources_of(root: Path) -> dict[str, str]:
    """{id: source} of everything that was collected or quarantined."""
    found = {document_id(row["source"]): row["source"] for row in _quarantine(root)}
    for path in shards_of(root / DATA / "collect"):
        table = read_table(path, ["id", "source"])
        found.update(zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True))
    return found


def located(root: Path, name: str) -> dict[str, str]:
    """{id: source} of the collected or quarantined documents that are `name` or lie below it. A file is looked up, a folder searched."""
    identifier = document_id(name)
    if identifier in rows_of(root / DATA / "collect", [identifier], ["id"]):
        return {identifier: name}
    return {identifier: source for identifier, source in sources_of(root).items() if is_below(source, name)}


def fates(root: Path, documents: dict[str, str]) -> list[Fate]:
    """What became of `documents`, {id: source or ""}, in the order of their sources."""
    data, ids = root / DATA, list(documents)
    collected = rows_of(data / "collect", ids, ["id", "source", "media_type", "encoding", "digest"])
    refused = {document_id(row["source"]): row for row in _quarantine(root)}
    cleaned = rows_of(data / "clean", ids, ["id", "language", "language_score", "placeholders"])
    dropped = rows_of(data / "clean/dropped", ids, ["id", "language", "language_score", "placeholders", "reason", "detail"])
    clusters = _clusters(root, ids)
    packed = _packed(data / "pack", ids)
    annotated = rows_of(data / "annotate", ids, ["id"])
    made = []
    for identifier, source in documents.items():
        fate = Fate(identifier, source, ABSENT, "")
        if row := collected.get(identifier):
            fate.source, fate.fate = row.pop("source"), UNFINISHED
            fate.collect = row | {"shard": f"data/collect/{_shard(data / 'collect', identifier)}"}
        elif row := refused.get(identifier):
            fate.source, fate.fate, fate.why, fate.quarantine = row.pop("source"), "quarantined", _why(row), row
        if row := cleaned.get(identifier):
            fate.clean = row | {"kept": True, "reason": "", "detail": ""}
        elif row := dropped.get(identifier):
            fate.clean, fate.fate, fate.why = row | {"kept": False}, "dropped by clean", _why(row)
        if row := clusters.get(identifier):
            fate.dedup = row
            if not row["kept"]:
                fate.fate, fate.why = "dropped by dedup", f"{row['reason']}: {row['survivor_source'] or row['survivor']} stays"
        if row := packed.get(identifier):
            fate.pack, fate.fate = row, row["split"]
            fate.annotated = identifier in annotated if (data / "annotate").is_dir() else None
        made.append(fate)
    return sorted(made, key=lambda fate: (fate.source, fate.id))


def rows_of(folder: Path, ids: Iterable[str], columns: list[str]) -> dict[str, Row]:
    """{id: row} of those of `ids` that are in the shards of a folder; rows without their id."""
    by_shard: dict[str, list[str]] = {}
    for identifier in ids:
        by_shard.setdefault(_shard(folder, identifier), []).append(identifier)
    found = {}
    for name, members in by_shard.items():
        if (folder / name).is_file():
            table = read_table(folder / name, columns)
            for row in table.filter(pc.is_in(table["id"], pa.array(members, pa.string()))).to_pylist():
                found[row.pop("id")] = row
    return found


def _shard(folder: Path, identifier: str) -> str:
    return shard_name(shard_of(identifier, max(0, len(shards_of(folder)) - 1).bit_length()))


def _quarantine(root: Path) -> list[Row]:
    path = root / DATA / QUARANTINE
    return read_table(path).to_pylist() if path.is_file() else []


def _clusters(root: Path, ids: list[str]) -> dict[str, Row]:
    """Rows of dedup's clusters for `ids`, each with who stays for it."""
    path = root / DATA / CLUSTERS
    if not path.is_file():
        return {}
    table = read_table(path)
    own = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))).to_pylist()
    names = pa.array({row["cluster"] for row in own}, pa.string())
    kept = table.filter(pc.and_(table["kept"], pc.is_in(table["cluster"], names)))
    survivors = dict(zip(kept["cluster"].to_pylist(), kept["id"].to_pylist(), strict=True))
    sources = rows_of(root / DATA / "collect", survivors.values(), ["id", "source"])
    found = {}
    for row in own:
        survivor = survivors.get(row["cluster"], "")
        row |= {"survivor": survivor, "survivor_source": sources.get(survivor, {}).get("source", "")}
        found[row.pop("id")] = row
    return found


def _packed(folder: Path, ids: list[str]) -> dict[str, Row]:
    """Split, tokens and rows of `ids`: where a document's tokens lie follows from the lengths and copies of those before it."""
    found: dict[str, Row] = {}
    wanted = set(ids)
    for name in sorted({_shard(folder / "documents", identifier) for identifier in ids}):
        if not (folder / "documents" / name).is_file():
            continue
        table = read_table(
            folder / "documents" / name, ["id", "split", "tokens", "copies"]
        ).to_pylist()  # sorted by id, as they were packed
        for split in SPLITS:
            own, end = [row for row in table if row["split"] == split], 0
            for row in (own[i] for i in order_of(np.array([row["copies"] for row in own], np.int64))):
                begin, end = end + 1, end + 1 + row["tokens"]  # behind a boundary
                if row["id"] in wanted:
                    file = folder / split / f"{Path(name).stem}.arrow"
                    rows = _rows(file, begin, end) if row["tokens"] else None
                    first = {"split": split, "tokens": row["tokens"], "rows": rows, "again": [], "file": f"data/pack/{split}/{file.name}"}
                    if found.setdefault(row["id"], first) is not first and rows:
                        found[row["id"]]["again"].append(rows)
    return found


def _rows(file: Path, begin: int, end: int) -> list[int] | None:
    """First and last row that hold the tokens `begin` to `end` (not included) of a stream as labels; see tokens/pack.py."""
    if not file.is_file():
        return None
    with pa.memory_map(str(file)) as mapped:
        context = int(pa.ipc.open_stream(mapped).schema.metadata[b"context"])
    return [(begin - 1) // context, (end - 2) // context]


def _why(row: Row) -> str:
    return f"{row['reason']}: {row['detail']}" if row["detail"] else row["reason"]
