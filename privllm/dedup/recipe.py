"""dedup: of documents that say the same, one.

data/clean -> data/dedup (survivors, with their cluster), data/dedup/clusters (every document and what became of it)

Signatures are made shard by shard; `find_clusters` is the only step that sees the whole corpus, and it sees half a
kilobyte a document. Pairs whose estimated similarity is near the threshold are settled by the true one, so their texts
are read again. What survives is a pure function of the set of documents, in whatever order they came.
"""

import shutil
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.records import DEDUPED
from privllm.core.report import balance
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.dedup.clusters import Clusters, verdicts
from privllm.dedup.exact import first_of_each, normalised_digest
from privllm.dedup.minhash import PERMUTATIONS, bands, rounds, rows_per_band, signatures, similarity
from privllm.dedup.resolved_pairs import Settled
from privllm.dedup.shingles import jaccard, shingle_sets, shingles
from privllm.engine.store import NO_STORE, Before, Store

SIGNATURES = pa.schema(
    [
        ("id", pa.string()),
        ("digest", pa.string()),  # of the text, white space normalised
        ("length", pa.int64()),  # characters
        ("signature", pa.binary(4 * PERMUTATIONS)),  # little-endian uint32; null for a text without a word
    ]
)
DOUBT = 3.0  # standard errors around the threshold within which the estimate is not trusted
PAIRS_IN_DOUBT = 1 << 16  # settled together; below it the corpus is read again once
PAIRS_AT_ONCE = 1 << 10
READERS = 2  # threads that read signatures
Choices = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
ReadSets = Callable[[np.ndarray], dict[int, np.ndarray]]


@dataclass
class DedupConfig:
    threshold: float = 0.8  # Jaccard similarity of word n-grams from which two documents are one, [0.3, 1]
    words: int = 5  # words in an n-gram, [1, 20]

    def __post_init__(self) -> None:
        require(0.3 <= self.threshold <= 1, "dedup.threshold", "a similarity between 0.3 and 1")
        require(1 <= self.words <= 20, "dedup.words", "a number of words between 1 and 20")


def dedup(cfg: DedupConfig, source: Path, out: Path, store: Store = NO_STORE) -> dict:
    """Write `out/NNNNN.parquet` (DEDUPED) and `out/clusters/clusters.parquet` (CLUSTERS); returns the counts.

    Raises UserError when `source` holds no document.
    """
    sources, workspace = shards_of(source), out / "signatures"
    signed = [workspace / path.name for path in sources]
    shutil.rmtree(workspace, ignore_errors=True)
    store.map(signature_shard, [(path, cfg.words) for path in sources], workspace, "signatures", resume=True, borrow=True)
    table, shards = find_clusters(cfg, sources, signed, store.note("pairs", cfg.words))
    shutil.rmtree(workspace, ignore_errors=True)
    write_table(table, out / "clusters" / "clusters.parquet")
    choices = _choices(table, shards)
    nothing: Choices = ((), ())
    kept = store.map(write_survivors, [(path, *choices.get(i, nothing)) for i, path in enumerate(sources)], out, "dedup")
    return _report(table, sum(kept))


def signature_shard(out: Path, source: Path, words: int, before: Before | None) -> int:
    """Write the SIGNATURES of the documents of one shard, sorted by id; returns how many there are."""
    table = by_id(read_table(source, ["id", "text"]))
    known = read_table(before.inputs[source.name], ["id", "text"]) if before else table.slice(0, 0)
    old = dict(zip(known["id"].to_pylist(), known["text"].to_pylist(), strict=True))
    same = pa.array([old.get(i) == text for i, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)], pa.bool_())
    signed = [sign(table.filter(pc.invert(same)), words)]
    if before:
        last = read_table(before.files[source.name])
        signed.append(last.filter(pc.is_in(last["id"], table["id"].filter(same))))
    write_table(by_id(pa.concat_tables(signed)), out / source.name)
    return len(table)


def sign(table: pa.Table, words: int) -> pa.Table:
    """SIGNATURES of some documents (id, text), in their order."""
    texts = table["text"].to_pylist()
    hashes, offsets = shingles(texts, words)
    rows = signatures(hashes, offsets).astype("<u4").tobytes()
    size = 4 * PERMUTATIONS
    columns = {
        "id": table["id"],
        "digest": [normalised_digest(text) for text in texts],
        "length": [len(text) for text in texts],
        "signature": [rows[i * size : (i + 1) * size] if offsets[i] < offsets[i + 1] else None for i in range(len(texts))],
    }
    return pa.Table.from_pydict(columns, SIGNATURES)


def find_clusters(cfg: DedupConfig, sources: list[Path], signed: list[Path], note: Path | None) -> tuple[pa.Table, np.ndarray]:
    """CLUSTERS and the index of each document's shard: the one step over the whole corpus.

    note: where the similarities that were computed are kept for the next time.
    """
    with ThreadPoolExecutor(READERS) as threads:
        tables = list(threads.map(read_table, signed))
    shards = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    if not len(shards):
        raise UserError(
            "no document survived cleaning, so there is nothing to deduplicate: reports/clean.json counts the reasons, "
            "data/clean/dropped/ holds the texts; loosen `clean` in params.yaml or add documents to data/sources."
        )
    order = pc.sort_indices(pa.concat_tables(table.select(["id"]) for table in tables)["id"])
    table, shards = pa.concat_tables(tables).take(order).combine_chunks(), shards[order.to_numpy()]
    del tables
    ids, digests, lengths, signature = (column.chunk(0) for column in table.columns)
    exact = first_of_each(digests)
    clusters = Clusters(len(table))
    clusters.join(np.arange(len(table)), exact)
    near = np.flatnonzero((exact == np.arange(len(table))) & signature.is_valid().to_numpy(zero_copy_only=False))
    numbers = np.frombuffer(signature.buffers()[1], "<u4").reshape(-1, PERMUTATIONS)
    settled = Settled(note, digests)
    join_near(cfg.threshold, near, numbers[near], clusters, _reader(cfg, sources, ids, shards), settled)
    settled.save()
    return verdicts(ids, lengths.to_numpy(), exact, clusters.names()), shards


def join_near(
    threshold: float, rows: np.ndarray, signatures_NP: np.ndarray, clusters: Clusters, read_sets: ReadSets, settled: Settled
) -> None:
    """Join the near-duplicates among some rows, whose signatures are uint32 (rows, PERMUTATIONS), in `clusters`.

    read_sets(rows) gives the distinct shingles of some rows, sorted.
    """
    margin = DOUBT * (threshold * (1 - threshold) / PERMUTATIONS) ** 0.5
    doubtful = np.zeros((2, 0), np.int64)
    for left, right in rounds(list(bands(signatures_NP, rows_per_band(threshold)))):
        apart = clusters.apart(rows[left], rows[right])
        left, right = left[apart], right[apart]
        estimate = similarity(signatures_NP, left, right)
        sure, open_ = estimate > threshold + margin, np.abs(estimate - threshold) <= margin
        clusters.join(rows[left[sure]], rows[right[sure]])
        doubtful = np.concatenate([doubtful, rows[np.stack([left[open_], right[open_]])]], axis=1)
        if doubtful.shape[1] >= PAIRS_IN_DOUBT:
            doubtful = _join_doubtful(threshold, doubtful, clusters, read_sets, settled)
    _join_doubtful(threshold, doubtful, clusters, read_sets, settled)


def _join_doubtful(threshold: float, pairs: np.ndarray, clusters: Clusters, read_sets: ReadSets, settled: Settled) -> np.ndarray:
    """Join those of `pairs` (2, pairs) that are truly similar enough; returns no pairs, for the next turn."""
    known = settled.of(pairs)
    clusters.join(*pairs[:, known >= threshold])
    pairs = pairs[:, np.isnan(known)]
    pairs = pairs[:, clusters.apart(*pairs)]
    sets = read_sets(np.unique(pairs))
    for start in range(0, pairs.shape[1], PAIRS_AT_ONCE):
        left, right = pairs[:, start : start + PAIRS_AT_ONCE]
        open_ = clusters.apart(left, right)
        left, right = left[open_], right[open_]
        values = np.array([jaccard(sets[a], sets[b]) for a, b in zip(left.tolist(), right.tolist(), strict=True)])
        settled.learn(np.stack([left, right]), values)
        clusters.join(left[values >= threshold], right[values >= threshold])
    return np.zeros((2, 0), np.int64)


def _reader(cfg: DedupConfig, sources: list[Path], ids: pa.Array, shards: np.ndarray) -> ReadSets:
    """A function that reads the texts of some rows again and gives the distinct shingles of each."""

    def read_sets(rows: np.ndarray) -> dict[int, np.ndarray]:
        sets: dict[int, np.ndarray] = {}
        for shard in np.unique(shards[rows]).tolist():
            here = rows[shards[rows] == shard]
            table = read_table(sources[shard], ["id", "text"])
            texts = table["text"].take(pc.index_in(ids.take(pa.array(here)), table["id"]))
            sets.update(zip(here.tolist(), shingle_sets(texts.to_pylist(), cfg.words), strict=True))
        return sets

    return read_sets


def _choices(table: pa.Table, shards: np.ndarray) -> dict[int, Choices]:
    """For each shard its dropped ids, and (id, cluster) of those kept whose cluster has another name: all its survivors depend on."""
    chosen = np.flatnonzero(~table["kept"].to_numpy() | pc.not_equal(table["id"], table["cluster"]).to_numpy())
    rows = zip(*(table[name].take(pa.array(chosen)).to_pylist() for name in ("id", "cluster", "kept")), strict=True)
    dropped, renamed = defaultdict[int, list[str]](list), defaultdict[int, list[tuple[str, str]]](list)
    for shard, (identifier, cluster, kept) in zip(shards[chosen].tolist(), rows, strict=True):
        if kept:
            renamed[shard].append((identifier, cluster))
        else:
            dropped[shard].append(identifier)
    return {shard: (tuple(dropped[shard]), tuple(renamed[shard])) for shard in dropped.keys() | renamed.keys()}


def write_survivors(out: Path, source: Path, dropped: tuple[str, ...], renamed: tuple[tuple[str, str], ...]) -> int:
    """Write the documents of one shard that stay, with their cluster, sorted by id; returns how many stay."""
    table = read_table(source)
    table = by_id(table.filter(pc.invert(pc.is_in(table["id"], pa.array(dropped, pa.string())))))
    names = dict(renamed)
    clusters = [names.get(identifier, identifier) for identifier in table["id"].to_pylist()]
    write_table(table.append_column("cluster", pa.array(clusters, pa.string())).cast(DEDUPED), out / source.name)
    return len(table)


def _report(table: pa.Table, survivors: int) -> dict:
    dropped = {reason: pc.sum(pc.equal(table["reason"], reason)).as_py() for reason in ("exact", "near")}
    sizes = table["cluster"].value_counts().field("counts").to_numpy()
    balance(len(table), survivors, *dropped.values())
    return {
        "documents_in": len(table),
        "kept": survivors,
        "dropped": dropped,
        "clusters_of_many": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),
    }
