"""Runs of words in held-out documents that also stand in the training split.

A text that is no near duplicate may still quote whole passages of training text, and a model that has seen them is
judged there by its memory. A run is copied where each of its words lies in a window of 13 words that some training
document holds word for word: GPT-3's rule (Brown et al. 2020, appendix C), which Lee et al. 2022 (arXiv 2107.06499)
and Llama 3 (2024, section 5.1.4) follow with other lengths. Words are those of `shingles`, so case and white space do
not count, and scripts without spaces are covered.

    held-out windows, by shard          h_s                a function of the shard
    all of them                         H = union of h_s
    those in training text, by shard    f_s                a function of the shard and H
    all of them                         F = union of f_s
    spans, by shard                                        a function of the shard and F within h_s

So an edit of a training document costs its own shard, and of others only those whose held-out text it quotes or quoted. An
edit of a held-out document changes H, and all training text is read again.

Windows are compared by 64-bit hashes and not confirmed: with n held-out and m training windows, n m / 2^64 are found by
chance, one in two thousand corpora of ten million and a billion. What is in memory is 8 bytes for each held-out word.
"""

import shutil
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.records import COPIED_RUNS
from privllm.core.report import add_up
from privllm.core.split import SPLITS
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.dedup.shingles import shingles, word_spans
from privllm.engine.store import NO_STORE, Store

WINDOW = 13  # words
TRAIN, *HELD_OUT = SPLITS
HASH = np.dtype("<u8")
ALL = "windows.bin"
COUNTS = ("documents", "mostly_copied", "words", "copied_words")


def find_copied_runs(documents: Path, out: Path, store: Store = NO_STORE) -> dict[str, dict[str, float]]:
    """Write the COPIED_RUNS of the shards of DEDUPED in `documents`; return counts for each held-out split.

    A shard's rows are in the order of ids and places; the runs of a document do not touch.
    """
    shutil.rmtree(out, ignore_errors=True)
    shards = shards_of(documents)
    workspace = out / "windows"
    held_out, found, copied = (workspace / name for name in ("held_out", "found", "copied"))
    windows = store.map(hash_held_out, [(shard,) for shard in shards], held_out, "copied runs", borrow=True)
    held_out_files = [held_out / f"{shard.stem}.bin" for shard in shards]
    # An action as well, so that what follows from it travels with the build (`privllm push`).
    store.map(unite, [(tuple(held_out_files),)], workspace / "all", "copied runs", borrow=True)
    everything = workspace / "all" / ALL

    jobs = [(shard, everything) for shard in shards] if any(windows) else []
    store.map(find_in_training, jobs, found, "copied runs", borrow=True)
    found_hashes = _union(_read_hashes(found / f"{shard.stem}.bin") for shard, _ in jobs)

    marking = []
    for shard, held_out_file in zip(shards, held_out_files, strict=True):
        own_hashes = _common(_read_hashes(held_out_file), found_hashes)
        own_file = copied / held_out_file.name
        _write_hashes(own_hashes, own_file)
        marking.append((shard, own_file))
    counts = add_up(store.map(mark_copied, marking, out, "copied runs"))
    shutil.rmtree(workspace)
    return {split: _figures(counts, split) for split in HELD_OUT}


def _figures(counts: dict[str, int], split: str) -> dict[str, float]:
    figures: dict[str, float] = {name: counts.get(f"{name} {split}", 0) for name in COUNTS}
    words = figures["words"]
    return figures | {"copied_share": round(figures["copied_words"] / words, 6) if words else 0.0}


def hash_held_out(out: Path, shard: Path) -> int:
    """Write the distinct windows of a shard's held-out documents, sorted; return their number."""
    hashes, _ = shingles(_documents_of(shard, HELD_OUT)["text"].to_pylist(), WINDOW)
    distinct_hashes = _distinct(hashes)
    _write_hashes(distinct_hashes, out / f"{shard.stem}.bin")
    return len(distinct_hashes)


def unite(out: Path, files: tuple[Path, ...]) -> int:
    """Write the distinct windows of some files as one, sorted; return their number."""
    hashes = _union(map(_read_hashes, files))
    _write_hashes(hashes, out / ALL)
    return len(hashes)


def find_in_training(out: Path, shard: Path, held_out_file: Path) -> int:
    """Write the held-out windows that a shard's training documents hold, sorted; return their number."""
    documents = _documents_of(shard, [TRAIN])
    hashes, _ = shingles(documents["text"].to_pylist(), WINDOW)
    held_out_hashes = np.memmap(held_out_file, HASH, "r")
    found_hashes = _common(_distinct(hashes), held_out_hashes)
    _write_hashes(found_hashes, out / f"{shard.stem}.bin")
    return len(found_hashes)


def mark_copied(out: Path, shard: Path, copied_file: Path) -> dict[str, int]:
    """Write the COPIED_RUNS of a shard, given its windows that are copied; return COUNTS of each split."""
    documents = by_id(_documents_of(shard, HELD_OUT))
    texts = documents["text"].to_pylist()
    hashes, offsets = shingles(texts, WINDOW)
    window_is_copied = _is_among(hashes, _read_hashes(copied_file))
    counts = {f"{name} {split}": 0 for name in COUNTS for split in HELD_OUT}
    rows = []
    ids, splits = documents["id"].to_pylist(), documents["split"].to_pylist()
    for identifier, split, text, bounds in zip(ids, splits, texts, pairwise(offsets.tolist()), strict=True):
        begins, ends = word_spans(text)
        is_copied = copied_words(window_is_copied[slice(*bounds)], len(begins))
        for begin, end in runs(text, begins, ends, is_copied):
            rows.append({"id": identifier, "begin": begin, "end": end})
        copied_count = int(is_copied.sum())
        counts[f"documents {split}"] += 1
        counts[f"mostly_copied {split}"] += 2 * copied_count > len(begins)
        counts[f"words {split}"] += len(begins)
        counts[f"copied_words {split}"] += copied_count
    write_table(pa.Table.from_pylist(rows, COPIED_RUNS), out / shard.name)
    return counts


def copied_words(window_is_copied: np.ndarray, word_count: int) -> np.ndarray:
    """Return which words of a document lie in a copied window, bool; none where it has fewer than a window."""
    if word_count < WINDOW:  # its one shingle is of all its words
        return np.zeros(word_count, bool)
    first_words = np.flatnonzero(window_is_copied)
    steps = np.zeros(word_count + 1, np.int64)
    steps[first_words] += 1
    steps[first_words + WINDOW] -= 1
    return np.cumsum(steps)[:-1] > 0


def runs(text: str, begins: np.ndarray, ends: np.ndarray, is_copied: np.ndarray) -> list[tuple[int, int]]:
    """Return (begin, end) of the longest runs of copied words, in bytes of the UTF-8 text.

    begins, ends: of each word, in code points.
    """
    edges = np.flatnonzero(np.diff(is_copied, prepend=False, append=False))
    first_words, last_words = edges[::2], edges[1::2] - 1
    encoded = np.frombuffer(text.encode(), np.uint8)
    begins_character = (encoded & 0xC0) != 0x80  # other bytes continue one
    byte_of = np.append(np.flatnonzero(begins_character), len(encoded))  # of each code point
    return list(zip(byte_of[begins[first_words]].tolist(), byte_of[ends[last_words]].tolist(), strict=True))


def _documents_of(shard: Path, splits: list[str]) -> pa.Table:
    """Return (id, text, split) of the documents of some splits."""
    documents = read_table(shard, ["id", "text", "split"])
    return documents.filter(pc.is_in(documents["split"], pa.array(splits)))


def _is_among(hashes: np.ndarray, sorted_hashes: np.ndarray) -> np.ndarray:
    if not len(sorted_hashes):
        return np.zeros(len(hashes), bool)
    places = np.minimum(np.searchsorted(sorted_hashes, hashes), len(sorted_hashes) - 1)
    return sorted_hashes[places] == hashes


def _common(hashes: np.ndarray, sorted_hashes: np.ndarray) -> np.ndarray:
    return hashes[_is_among(hashes, sorted_hashes)]


def _distinct(hashes: np.ndarray) -> np.ndarray:
    """Return the different hashes, sorted. (np.unique takes them through a hash table first, at ten times the time.)"""
    hashes = np.sort(hashes)
    is_first = np.ones(len(hashes), bool)
    is_first[1:] = hashes[1:] != hashes[:-1]
    return hashes[is_first]


def _union(parts: Iterable[np.ndarray]) -> np.ndarray:
    return _distinct(np.concatenate([np.zeros(0, HASH), *parts]))


def _read_hashes(path: Path) -> np.ndarray:
    return np.fromfile(path, HASH)


def _write_hashes(hashes: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hashes.astype(HASH).tofile(path)
