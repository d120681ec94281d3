"""Sample that the vocabulary is learnt on: training documents chosen by a hash of their ids.

A document outside the sample that is added, edited or removed leaves the sample's bytes unchanged,
so `dvc` does not even start `tokenizer`.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.params import require
from privllm.core.seed import unit_interval
from privllm.core.tables import read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store

SHARE = 4  # times a shard's even share of the sample are listed at first
Place = tuple[float, str, int]  # place in [0, 1) by a hash of the id, id, bytes
SAMPLE = pa.schema([("place", pa.float64()), ("id", pa.string()), ("text", pa.string())])


@dataclass
class SampleConfig:
    megabytes: float = 8.0  # UTF-8 text of training documents that the vocabulary is learnt from, (0, 1024]

    def __post_init__(self) -> None:
        require(0 < self.megabytes <= 1024, "sample.megabytes", "more than 0 and at most 1024")


def write_sample(
    cfg: SampleConfig,
    source: Path,
    out: Path,
    store: Store = NO_STORE,
) -> None:
    """Write training documents of DEDUPED, in the order of their places, up to `cfg.megabytes`.

    The last document is cut to fit. Writes a SAMPLE file into `out` for each shard that contributes;
    an empty one where none does.
    """
    shutil.rmtree(out, ignore_errors=True)
    shards, budget = shards_of(source), int(cfg.megabytes * 1_000_000)
    # More than a shard is likely to contribute, and less to list than all of it.
    share = min(budget, max(1, SHARE * budget // len(shards)))
    by_shard = None
    for listed_bytes in (share, budget):
        listing_jobs = [(shard, listed_bytes) for shard in shards]
        listed = store.map(places, listing_jobs, out, "sample")
        by_shard = _choose(listed, listed_bytes, budget)
        if by_shard is not None:
            break
    if not by_shard:
        by_shard = {0: []}
    jobs = [(shards[shard], tuple(documents)) for shard, documents in sorted(by_shard.items())]
    store.map(take_texts, jobs, out, "sample")


def _choose(listed: list[list[Place]], share: int, budget: int) -> dict[int, list[Place]] | None:
    """Return {shard: its documents in the sample}, each with the bytes to take.

    `listed` are the first documents of each shard, up to `share` bytes. Returns None if a shard may
    have further documents in the sample, which are not listed.
    """
    by_place = []
    for shard, shard_places in enumerate(listed):
        by_place += [(*place, shard) for place in shard_places]
    by_place.sort()

    by_shard: dict[int, list[Place]] = {}
    last_place, remaining = 1.0, budget
    for place, identifier, size, shard in by_place:
        if remaining <= 0:
            break
        by_shard.setdefault(shard, []).append((place, identifier, min(size, remaining)))
        last_place, remaining = place, remaining - size
    if share < budget:
        end = last_place if remaining <= 0 else 1.0
        for shard_places in listed:
            is_cut = sum(size for *_, size in shard_places) >= share
            if is_cut and shard_places and shard_places[-1][0] < end:
                return None
    return by_shard


def places(out: Path, shard: Path, budget: int) -> list[Place]:
    """Return the shard's first training documents, up to `budget` bytes and the one that exceeds it."""
    table = read_table(shard, ["id", "split", "text"])
    sizes = pc.binary_length(table["text"].cast(pa.binary())).to_pylist()
    training: list[Place] = []
    ids, splits = table["id"].to_pylist(), table["split"].to_pylist()
    for identifier, split, size in zip(ids, splits, sizes, strict=True):
        if size and split == "train":
            training.append((unit_interval("tokenizer", identifier), identifier, size))
    training.sort()
    training_sizes = [size for *_, size in training]
    bytes_before = np.cumsum([0, *training_sizes])
    count = int(np.searchsorted(bytes_before, budget))
    return training[:count]


def take_texts(out: Path, shard: Path, chosen: tuple[Place, ...]) -> None:
    """Write the shard's chosen documents (place, id, bytes to take) as SAMPLE, in that order."""
    table = read_table(shard, ["id", "text"])
    ids = pa.array([identifier for _, identifier, _ in chosen], pa.string())
    table = table.filter(pc.is_in(table["id"], ids))
    text_of = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    rows = []
    for place, identifier, size in chosen:
        beginning = text_of[identifier].encode()[:size].decode("utf-8", "ignore")
        rows.append({"place": place, "id": identifier, "text": beginning})
    write_table(pa.Table.from_pylist(rows, SAMPLE), out / shard.name)


def sample_texts(files: Sequence[Path]) -> list[str]:
    """Return the texts of the sample, in the order of their places."""
    return [text for _, text in sample_documents(files)]


def sample_documents(files: Sequence[Path]) -> list[tuple[str, str]]:
    """Return (id, text) of the sample, in the order of their places."""
    rows = []
    for path in files:
        rows += read_table(path).to_pylist()
    rows.sort(key=lambda row: (row["place"], row["id"]))
    return [(row["id"], row["text"]) for row in rows]
