"""dedup: repeated lines, exact and near duplicates leave, and what stays has its side of the split.

data/clean, data/promoted/sides -> data/dedup (survivors, with their cluster and split), data/dedup/clusters
(every document, kept or dropped), data/dedup/repeated_lines.txt (what was removed at the ends of pages)

Signatures are computed shard by shard; `find_clusters` is the only step that sees the whole corpus,
and it reads half a kilobyte a document. Where the estimated similarity of a pair is near the
threshold, the texts are read again and the exact similarity decides. The survivors are a pure
function of the set of documents, whatever their order.
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
from privllm.core.records import DEDUPED, SIDES
from privllm.core.report import balance
from privllm.core.split import SPLITS, SplitConfig, split_of
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.dedup.clusters import Clusters
from privllm.dedup.exact import first_of_each, normalised_digest
from privllm.dedup.minhash import PERMUTATIONS, bands, rounds, rows_per_band, signatures, similarity
from privllm.dedup.repeated_lines import LIST, remove_repeated_lines
from privllm.dedup.resolved_pairs import ResolvedPairs
from privllm.dedup.shingles import jaccard, shingle_sets, shingles
from privllm.dedup.sides import OTHER_SIDE, UNRECORDED, read_sides, stand
from privllm.dedup.survivors import AreNear, verdicts
from privllm.engine.store import NO_STORE, Before, Store

SIGNATURES = pa.schema(
    [
        ("id", pa.string()),
        ("digest", pa.string()),  # of the text, white space normalised
        ("length", pa.int64()),  # characters
        ("signature", pa.binary(4 * PERMUTATIONS)),  # little-endian uint32; null for a text without a word
    ]
)
DOUBT = 3.0  # standard errors around the threshold within which an estimate is not trusted
PAIRS_IN_DOUBT = 1 << 16  # that are resolved together; fewer cost one more reading of the corpus
PAIRS_AT_ONCE = 1 << 10
READERS = 2  # threads that read signatures
Renamed = tuple[tuple[str, str], ...]  # (id, cluster) of survivors whose cluster has another id
Moved = tuple[tuple[str, str], ...]  # (id, split) of survivors whose recorded side their cluster's id does not give
Choices = tuple[tuple[str, ...], Renamed, Moved]  # dropped ids; renamed survivors; moved ones
NO_CHOICES: Choices = ((), (), ())
ReadSets = Callable[[np.ndarray], dict[int, np.ndarray]]


@dataclass
class DedupConfig:
    threshold: float = 0.8  # Jaccard similarity of word n-grams from which two documents are one, [0.3, 1]
    words: int = 5  # words in an n-gram, [1, 20]

    def __post_init__(self) -> None:
        require(0.3 <= self.threshold <= 1, "dedup.threshold", "a similarity between 0.3 and 1")
        require(1 <= self.words <= 20, "dedup.words", "a number of words between 1 and 20")


def dedup(
    cfg: DedupConfig,
    split: SplitConfig,
    source: Path,
    out: Path,
    store: Store = NO_STORE,
    sides: Path | None = None,
) -> dict:
    """Write the survivors (DEDUPED) and `out/clusters/clusters.parquet` (CLUSTERS).

    sides: the folder of recorded sides. Returns the counts of the report.

    Raises UserError when `source` holds no document, or the recorded sides were not fetched.
    """
    recorded = read_sides(sides) if sides else SIDES.empty_table()
    repeated = out / "repeated"
    shutil.rmtree(repeated, ignore_errors=True)
    sources, removed = remove_repeated_lines(shards_of(source), repeated, store)
    workspace = out / "signatures"
    shutil.rmtree(workspace, ignore_errors=True)
    signing = [(path, cfg.words) for path in sources]
    store.map(signature_shard, signing, workspace, "signatures", resume=True, borrow=True, apart=True)  # for rensa
    signature_files = [workspace / path.name for path in sources]
    documents, shards = _read_signatures(signature_files)
    note = store.note("pairs", cfg.words)
    table, cluster_sides = find_clusters(cfg, sources, documents, shards, recorded, note)
    shutil.rmtree(workspace, ignore_errors=True)
    write_table(table, out / "clusters" / "clusters.parquet")
    moved = _moved(split, table, cluster_sides)
    choices = _choices_by_shard(table, shards, moved)
    writing = []
    for shard, path in enumerate(sources):
        writing.append((path, *choices.get(shard, NO_CHOICES), split))
    survivors = store.map(write_survivors, writing, out, "dedup")
    (repeated / LIST).replace(out / LIST)
    shutil.rmtree(repeated)
    return _report(table, sum(survivors)) | {"repeated_lines": removed}


def signature_shard(out: Path, source: Path, words: int, before: Before | None) -> int:
    """Write the SIGNATURES of the documents of one shard, sorted by id; return their number."""
    documents = by_id(read_table(source, ["id", "text"]))
    is_unchanged = _is_unchanged(documents, before, source.name)
    signed = [sign(documents.filter(pc.invert(is_unchanged)), words)]
    if before:
        previous = read_table(before.files[source.name])
        unchanged_ids = documents["id"].filter(is_unchanged)
        signed.append(previous.filter(pc.is_in(previous["id"], unchanged_ids)))
    write_table(by_id(pa.concat_tables(signed)), out / source.name)
    return len(documents)


def _is_unchanged(documents: pa.Table, before: Before | None, name: str) -> pa.Array:
    """Return whether the previous version of the shard has a document (id, text), bool."""
    if before is None:
        return pa.repeat(False, len(documents))
    previous = read_table(before.inputs[name], ["id", "text"])
    previous_texts = dict(zip(previous["id"].to_pylist(), previous["text"].to_pylist(), strict=True))
    is_unchanged = []
    for identifier, text in zip(documents["id"].to_pylist(), documents["text"].to_pylist(), strict=True):
        is_unchanged.append(previous_texts.get(identifier) == text)
    return pa.array(is_unchanged, pa.bool_())


def sign(documents: pa.Table, words: int) -> pa.Table:
    """Return the SIGNATURES of documents (id, text), in their order."""
    texts = documents["text"].to_pylist()
    hashes, offsets = shingles(texts, words)
    has_words = offsets[:-1] < offsets[1:]
    signatures_NP = signatures(hashes, offsets).astype("<u4")
    stored_signatures = []
    for signature, has_word in zip(signatures_NP, has_words, strict=True):
        stored_signatures.append(signature.tobytes() if has_word else None)
    columns = {
        "id": documents["id"],
        "digest": [normalised_digest(text) for text in texts],
        "length": [len(text) for text in texts],
        "signature": stored_signatures,
    }
    return pa.Table.from_pydict(columns, SIGNATURES)


def find_clusters(
    cfg: DedupConfig,
    sources: list[Path],
    documents: pa.Table,
    shards: np.ndarray,
    sides: pa.Table,
    note: Path | None,
) -> tuple[pa.Table, np.ndarray]:
    """Return CLUSTERS of the whole corpus and the recorded side of each document's cluster.

    documents: SIGNATURES by id, each of a shard; note: where computed similarities are kept for the next run.
    """
    ids, digests, lengths, signature = (column.chunk(0) for column in documents.columns)
    exact = first_of_each(digests)
    clusters = Clusters(len(documents))
    clusters.join(np.arange(len(documents)), exact)
    is_first = exact == np.arange(len(documents))
    has_words = signature.is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(is_first & has_words)
    signatures_NP = np.frombuffer(signature.buffers()[1], "<u4").reshape(-1, PERMUTATIONS)
    resolved = ResolvedPairs(note, digests)
    read_sets = _shingle_reader(cfg, sources, ids, shards)
    join_near(cfg.threshold, rows, signatures_NP[rows], clusters, read_sets, resolved)
    roots = clusters.roots()
    standing, cluster_sides = stand(sides, ids, digests, roots)
    are_near = _comparison(cfg.threshold, signatures_NP, read_sets, resolved)
    table = verdicts(ids, digests, lengths.to_numpy(), exact, roots, standing, are_near)
    resolved.save()
    return table, cluster_sides


def _read_signatures(signature_files: list[Path]) -> tuple[pa.Table, np.ndarray]:
    """Return the SIGNATURES of all documents, sorted by id, and the index of each one's shard.

    Raises UserError where there is no document.
    """
    with ThreadPoolExecutor(READERS) as threads:
        tables = list(threads.map(read_table, signature_files))
    shards = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    if not len(shards):
        raise UserError(
            "no document survived cleaning, so there is nothing to deduplicate: reports/clean.json counts the reasons, "
            "data/clean/dropped/ holds the texts; loosen `clean` in params.yaml or add documents to data/sources."
        )
    documents = pa.concat_tables(tables)
    order = pc.sort_indices(documents["id"])
    return documents.take(order).combine_chunks(), shards[order.to_numpy()]


def join_near(
    threshold: float,
    rows: np.ndarray,
    signatures_NP: np.ndarray,
    clusters: Clusters,
    read_sets: ReadSets,
    resolved: ResolvedPairs,
) -> None:
    """Join the near duplicates among some rows in `clusters`.

    signatures_NP: uint32 (rows, PERMUTATIONS); read_sets(rows) returns their distinct shingles, sorted.
    """
    margin = _margin(threshold)
    doubtful = np.zeros((2, 0), np.int64)
    buckets = list(bands(signatures_NP, rows_per_band(threshold)))
    for left, right in rounds(buckets):
        is_apart = clusters.are_apart(rows[left], rows[right])
        left, right = left[is_apart], right[is_apart]
        estimate = similarity(signatures_NP, left, right)
        pairs = rows[np.stack([left, right])]
        clusters.join(*pairs[:, estimate > threshold + margin])
        is_doubtful = np.abs(estimate - threshold) <= margin
        doubtful = np.concatenate([doubtful, pairs[:, is_doubtful]], axis=1)
        if doubtful.shape[1] >= PAIRS_IN_DOUBT:
            _join_doubtful(threshold, doubtful, clusters, read_sets, resolved)
            doubtful = np.zeros((2, 0), np.int64)
    _join_doubtful(threshold, doubtful, clusters, read_sets, resolved)


def _join_doubtful(
    threshold: float,
    pairs: np.ndarray,
    clusters: Clusters,
    read_sets: ReadSets,
    resolved: ResolvedPairs,
) -> None:
    """Join those of `pairs`, int64 (2, pairs), whose exact similarity reaches the threshold."""
    resolved_values = resolved.look_up(pairs)
    clusters.join(*pairs[:, resolved_values >= threshold])
    pairs = pairs[:, np.isnan(resolved_values)]
    pairs = pairs[:, clusters.are_apart(*pairs)]
    sets = read_sets(np.unique(pairs))
    for start in range(0, pairs.shape[1], PAIRS_AT_ONCE):
        batch = pairs[:, start : start + PAIRS_AT_ONCE]
        batch = batch[:, clusters.are_apart(*batch)]
        similarities = np.array([jaccard(sets[left], sets[right]) for left, right in batch.T.tolist()])
        resolved.add(batch, similarities)
        clusters.join(*batch[:, similarities >= threshold])


def _margin(threshold: float) -> float:
    """Return how far from the threshold an estimate decides."""
    return DOUBT * (threshold * (1 - threshold) / PERMUTATIONS) ** 0.5


def _comparison(threshold: float, signatures_NP: np.ndarray, read_sets: ReadSets, resolved: ResolvedPairs) -> AreNear:
    """Return a function that says which pairs reach the threshold, by the rule of `join_near`."""
    sets: dict[int, np.ndarray] = {}

    def are_near(pairs: np.ndarray, later: np.ndarray) -> np.ndarray:
        estimate = similarity(signatures_NP, *pairs)
        similarities = np.where(estimate > threshold, 1.0, 0.0)
        doubtful = np.flatnonzero(np.abs(estimate - threshold) <= _margin(threshold))
        similarities[doubtful] = resolved.look_up(pairs[:, doubtful])
        unknown = np.flatnonzero(np.isnan(similarities))
        for start in range(0, len(unknown), PAIRS_IN_DOUBT):
            places = unknown[start : start + PAIRS_IN_DOUBT]
            rows = np.unique(pairs[:, places])
            if not sets.keys() >= set(rows.tolist()):
                sets.clear()
                # In a chain each survivor is compared with the rest of it, so the texts of all are read at once.
                sets.update(read_sets(np.union1d(rows, later)))
            exact = np.array([jaccard(sets[left], sets[right]) for left, right in pairs[:, places].T.tolist()])
            resolved.add(pairs[:, places], exact)
            similarities[places] = exact
        return similarities >= threshold

    return are_near


def _shingle_reader(cfg: DedupConfig, sources: list[Path], ids: pa.Array, shards: np.ndarray) -> ReadSets:
    """Return a function that reads the texts of some rows again and returns their shingles."""

    def read_sets(rows: np.ndarray) -> dict[int, np.ndarray]:
        sets: dict[int, np.ndarray] = {}
        for shard in np.unique(shards[rows]).tolist():
            shard_rows = rows[shards[rows] == shard]
            shard_ids = ids.take(pa.array(shard_rows))
            documents = read_table(sources[shard], ["id", "text"])
            places = pc.index_in(shard_ids, documents["id"])
            texts = documents["text"].take(places).to_pylist()
            shard_sets = shingle_sets(texts, cfg.words)
            sets.update(zip(shard_rows.tolist(), shard_sets, strict=True))
        return sets

    return read_sets


def _moved(split: SplitConfig, table: pa.Table, cluster_sides: np.ndarray) -> dict[str, str]:
    """Return {id: split} of the survivors whose recorded side is not the one that their cluster's id gives."""
    rows = np.flatnonzero((cluster_sides != UNRECORDED) & table["kept"].to_numpy())
    survivors = table.take(pa.array(rows))
    ids, clusters = survivors["id"].to_pylist(), survivors["cluster"].to_pylist()
    moved = {}
    for identifier, cluster, side in zip(ids, clusters, cluster_sides[rows].tolist(), strict=True):
        if SPLITS[side] != split_of(split, cluster):
            moved[identifier] = SPLITS[side]
    return moved


def _choices_by_shard(table: pa.Table, shards: np.ndarray, moved: dict[str, str]) -> dict[int, Choices]:
    """Return for each shard its dropped ids, (id, cluster) of its renamed survivors, and (id, split) of its moved ones.

    A survivor is renamed if its cluster has another id. The survivors of a shard depend on nothing else.
    """
    moved_rows = pc.is_in(table["id"], pa.array(sorted(moved), pa.string())).to_numpy()
    is_dropped = ~table["kept"].to_numpy()
    is_renamed = pc.not_equal(table["id"], table["cluster"]).to_numpy()
    rows = np.flatnonzero(is_dropped | is_renamed | moved_rows)
    selected = table.take(pa.array(rows)).select(["id", "cluster", "kept"]).to_pydict()
    dropped = defaultdict[int, list[str]](list)
    renamed = defaultdict[int, list[tuple[str, str]]](list)
    crossing = defaultdict[int, list[tuple[str, str]]](list)
    for shard, identifier, cluster, is_kept in zip(shards[rows].tolist(), *selected.values(), strict=True):
        if not is_kept:
            dropped[shard].append(identifier)
            continue
        if identifier != cluster:
            renamed[shard].append((identifier, cluster))
        if identifier in moved:
            crossing[shard].append((identifier, moved[identifier]))
    choices: dict[int, Choices] = {}
    for shard in dropped.keys() | renamed.keys() | crossing.keys():
        choices[shard] = tuple(dropped[shard]), tuple(renamed[shard]), tuple(crossing[shard])
    return choices


def write_survivors(
    out: Path, source: Path, dropped: tuple[str, ...], renamed: Renamed, moved: Moved, split: SplitConfig
) -> int:
    """Write the survivors of one shard with their cluster and split, sorted by id; return their number."""
    documents = read_table(source)
    is_dropped = pc.is_in(documents["id"], pa.array(dropped, pa.string()))
    survivors = by_id(documents.filter(pc.invert(is_dropped)))
    cluster_names = dict(renamed)
    ids = survivors["id"].to_pylist()
    clusters = [cluster_names.get(identifier, identifier) for identifier in ids]
    recorded = dict(moved)
    splits = []
    for identifier, cluster in zip(ids, clusters, strict=True):
        splits.append(recorded.get(identifier) or split_of(split, cluster))
    survivors = survivors.append_column("cluster", pa.array(clusters, pa.string()))
    survivors = survivors.append_column("split", pa.array(splits, pa.string()))
    write_table(survivors.cast(DEDUPED), out / source.name)
    return len(survivors)


def _report(table: pa.Table, survivors: int) -> dict:
    """Return the counts of the report."""
    dropped = {}
    for reason in ("exact", "near", OTHER_SIDE):
        has_reason = pc.equal(table["reason"], reason)
        dropped[reason] = pc.sum(has_reason).as_py()
    sizes = table["cluster"].value_counts().field("counts").to_numpy()
    balance(len(table), survivors, *dropped.values())
    return {
        "documents_in": len(table),
        "kept": survivors,
        "dropped": dropped,
        "clusters_of_many": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),
        "chained": survivors - len(pc.unique(table["cluster"].filter(table["kept"]))),
    }
