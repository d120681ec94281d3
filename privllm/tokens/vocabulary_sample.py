"""What the vocabulary is learnt on: training documents chosen by id, apart from the others.

A document that is added, edited or removed outside the sample leaves its bytes alone, so `dvc` need not even start `tokenizer`.
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
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store

SHARE = 4  # times a shard's even part of the sample are looked at first
Place = tuple[float, str, int]  # place in [0, 1), id, bytes
SAMPLE = pa.schema([("place", pa.float64()), ("id", pa.string()), ("text", pa.string())])


@dataclass
class SampleConfig:
    megabytes: float = 8.0  # UTF-8 text of training documents that the vocabulary is learnt from, (0, 1024]

    def __post_init__(self) -> None:
        require(0 < self.megabytes <= 1024, "sample.megabytes", "more than 0 and at most 1024")


def write_sample(cfg: SampleConfig, split: SplitConfig, source: Path, out: Path, store: Store = NO_STORE) -> None:
    """Training documents of shards of DEDUPED in the order of a hash of their ids, up to `cfg.megabytes`; the last is cut to fit.

    Writes SAMPLE files into `out`, one for each shard that has a part in it; one that is empty where none has.
    """
    shutil.rmtree(out, ignore_errors=True)
    shards, budget = shards_of(source), int(cfg.megabytes * 1_000_000)
    share = max(1, SHARE * budget // len(shards))  # more than a shard most likely has in the sample, and less to look at than all
    parts = _choose(store.map(places, [(shard, split, min(share, budget)) for shard in shards], out, "sample"), share, budget)
    if parts is None:
        parts = _choose(store.map(places, [(shard, split, budget) for shard in shards], out, "sample"), budget, budget)
    jobs = [(shards[shard], tuple(part)) for shard, part in sorted((parts or {0: []}).items())]
    store.map(take_texts, jobs, out, "sample")


def _choose(found: list[list[Place]], share: int, budget: int) -> dict[int, list[Place]] | None:
    """What is taken of each shard that has a part; None where a shard that listed no more than `share` might have more."""
    chosen: dict[int, list[Place]] = {}
    last, left = 1.0, budget
    for place, identifier, size, shard in sorted((*row, shard) for shard, rows in enumerate(found) for row in rows):
        if left <= 0:
            break
        chosen.setdefault(shard, []).append((place, identifier, min(size, left)))
        last, left = place, left - size
    cut = [rows[-1][0] for rows in found if share < budget and rows and sum(size for *_, size in rows) >= share]
    return None if any(place < (last if left <= 0 else 1.0) for place in cut) else chosen


def places(out: Path, shard: Path, split: SplitConfig, budget: int) -> list[Place]:
    """The shard's first training documents, up to `budget` bytes and the one that goes beyond."""
    table = read_table(shard, ["id", "cluster", "text"])
    sizes = pc.binary_length(table["text"].cast(pa.binary())).to_pylist()
    rows = zip(table["id"].to_pylist(), table["cluster"].to_pylist(), sizes, strict=True)
    found = sorted((unit_interval("tokenizer", i), i, size) for i, cluster, size in rows if size and split_of(split, cluster) == "train")
    before = np.cumsum([0] + [size for *_, size in found])
    return found[: int(np.searchsorted(before, budget))]


def take_texts(out: Path, shard: Path, chosen: tuple[Place, ...]) -> None:
    """Write the shard's chosen documents (place, id, bytes to take) as SAMPLE, in that order."""
    table = read_table(shard, ["id", "text"])
    wanted = table.filter(pc.is_in(table["id"], pa.array([identifier for _, identifier, _ in chosen], pa.string())))
    texts = dict(zip(wanted["id"].to_pylist(), wanted["text"].to_pylist(), strict=True))
    rows = [{"place": place, "id": i, "text": texts[i].encode()[:size].decode("utf-8", "ignore")} for place, i, size in chosen]
    write_table(pa.Table.from_pylist(rows, SAMPLE), out / shard.name)


def sample_texts(files: Sequence[Path]) -> list[str]:
    """The texts of the sample, in the order of their places."""
    return [text for *_, text in sorted((row["place"], row["id"], row["text"]) for path in files for row in read_table(path).to_pylist())]
