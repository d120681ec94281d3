"""Which documents a model is judged on, what of them was copied from training, and which it must not be judged on.

    data/dedup            documents with their split
    data/dedup/copied     runs of words of held-out documents that also stand in the training split (COPIED)
    documents.parquet     beside a model: what it was trained on, see `tokens.trained_documents`

Documents are drawn by a hash of their id, so growth does not exchange them and every model is asked the same. What a model
was trained on before (an edition of the corpus in which a document stood on the other side) is no judge of it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.errors import UserError
from privllm.core.seed import digest, name_digest
from privllm.core.split import SPLITS
from privllm.core.tables import read_table, shards_of

HELD_OUT = tuple(name for name in SPLITS if name != "train")
COPIED = pa.schema([("id", pa.string()), ("begin", pa.int64()), ("end", pa.int64())])  # bytes of the UTF-8 text


class Choice(NamedTuple):
    """The documents of the held-out splits that a model is judged on."""

    ids_by_shard: dict[Path, list[str]]  # of data/dedup; ids ascending
    split_of: dict[str, str]
    left_out: dict[str, int]  # by split: documents that the model, or what it began as, was trained on


class _Candidate(NamedTuple):
    rank: str
    id: str
    size: int
    shard: Path


def trained_on(documents: Path, ids: Iterable[str], trained: pa.Table) -> set[str]:
    """Return those of `ids` (of data/dedup) that are in `trained`, by id or by their text."""
    known = {*trained["id"].to_pylist(), *trained["digest"].to_pylist()}
    found = set()
    for shard, inside in shards_with(documents, ids).items():
        table = read_table(shard, ["id", "text"])
        table = table.filter(pc.is_in(table["id"], pa.array(inside, pa.string())))
        for row in table.to_pylist():
            if row["id"] in known or digest(row["text"].encode()) in known:
                found.add(row["id"])
    return found


def choose_documents(documents: Path, max_bytes: int, trained: pa.Table) -> Choice:
    """Return documents of each held-out split until they hold `max_bytes`, ranked by a hash of their id.

    Those in `trained` (`tokens.trained_documents.TRAINED`), by id or by their text, are left out and counted.
    """
    known = {*trained["id"].to_pylist(), *trained["digest"].to_pylist()}
    candidates: dict[str, list[_Candidate]] = {name: [] for name in HELD_OUT}
    left_out = dict.fromkeys(HELD_OUT, 0)
    for shard in shards_of(documents):
        table = read_table(shard, ["id", "split", "text"])
        table = table.filter(pc.is_in(table["split"], pa.array(HELD_OUT)))
        for row in table.to_pylist():
            text = row["text"].encode()
            if row["id"] in known or digest(text) in known:
                left_out[row["split"]] += 1
                continue
            rank = name_digest("evaluate", row["id"])
            candidates[row["split"]].append(_Candidate(rank, row["id"], len(text), shard))
    ids_by_shard: dict[Path, list[str]] = {}
    split_of: dict[str, str] = {}
    for name, of_split in candidates.items():
        bytes_chosen = 0
        for candidate in sorted(of_split):
            if bytes_chosen >= max_bytes:
                break
            bytes_chosen += candidate.size
            ids_by_shard.setdefault(candidate.shard, []).append(candidate.id)
            split_of[candidate.id] = name
    ascending = {shard: sorted(ids) for shard, ids in sorted(ids_by_shard.items())}
    return Choice(ascending, split_of, left_out)


def shards_with(documents: Path, ids: Iterable[str]) -> dict[Path, list[str]]:
    """Return {shard of data/dedup: those of `ids` that lie in it, ascending}, without shards that have none."""
    wanted = pa.array(list(ids), pa.string())
    ids_by_shard = {}
    for shard in shards_of(documents):
        column = read_table(shard, ["id"])["id"]
        inside = column.filter(pc.is_in(column, wanted)).to_pylist()
        if inside:
            ids_by_shard[shard] = sorted(inside)
    return ids_by_shard


def read_copied(documents: Path, shard: Path) -> dict[str, list[tuple[int, int]]]:
    """Return {id: (begin, end) of each run that was copied} of the held-out documents of a shard.

    Raises UserError where nobody looked for copies.
    """
    path = documents / "copied" / shard.name
    if not path.is_file():
        raise UserError(f"{path} is missing, which says what held-out text was copied: run `dvc repro dedup`.")
    spans: dict[str, list[tuple[int, int]]] = {}
    for row in read_table(path, COPIED.names).to_pylist():
        spans.setdefault(row["id"], []).append((row["begin"], row["end"]))
    return spans


def is_clean(sizes: np.ndarray, copied: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return which tokens lie outside of every run (bool [tokens + 1]); one that a run touches is copied.

    `sizes` are the bytes of each token. The last entry is the end of the document, which is what its last token is.
    """
    ends = np.cumsum(sizes)
    begins = ends - sizes
    clean = np.ones(len(sizes) + 1, bool)
    for begin, end in copied:
        clean[:-1] &= (ends <= begin) | (begins >= end)
    if len(sizes):
        clean[-1] = clean[-2]
    return clean
