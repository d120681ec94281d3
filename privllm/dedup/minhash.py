"""MinHash signatures and locality-sensitive hashing: similar pairs, and estimated similarities.

A text is represented by a signature of P numbers; the share of numbers in which two signatures
agree estimates the Jaccard similarity of the texts' shingles (Broder 1997; rensa's R-MinHash after
Fast Similarity Sketching, Dahlgaard et al. 2017). Cut into bands of r numbers, similar signatures
agree in at least one whole band (Indyk and Motwani 1998). Texts are not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

PERMUTATIONS = 128
SEED = 42
BAND_RECALL = 0.99  # least chance that a pair at the threshold shares a band
NEIGHBOURS = 16  # in a bucket each text meets the first and its next 16: all pairs up to 18 texts, linear beyond
PAIRS_AT_ONCE = 1 << 14


def signatures(hashes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return MinHash signatures, uint32 (texts, PERMUTATIONS).

    Text i has the shingles `hashes[offsets[i]:offsets[i + 1]]`.
    """
    from rensa import RMinHash  # it starts threads, and a process with threads cannot be forked safely

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, PERMUTATIONS, SEED)
    numbers = chain.from_iterable(matrix.to_rows())
    text_count = len(offsets) - 1
    flat = np.fromiter(numbers, np.uint32, text_count * PERMUTATIONS)
    return flat.reshape(-1, PERMUTATIONS)


def rows_per_band(threshold: float) -> int:
    """Return the most numbers of a band that a pair at `threshold` shares with BAND_RECALL."""
    most = 1
    for rows in range(1, PERMUTATIONS + 1):
        recall = 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows)
        if recall >= BAND_RECALL:
            most = rows
    return most


def similarity(signatures_NP: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the estimated Jaccard similarity of the pairs (left[i], right[i]), float64.

    The standard error at a similarity s is sqrt(s(1 - s) / PERMUTATIONS).
    """
    estimates = np.zeros(len(left))
    for start in range(0, len(left), PAIRS_AT_ONCE):
        batch = slice(start, start + PAIRS_AT_ONCE)
        is_equal = signatures_NP[left[batch]] == signatures_NP[right[batch]]
        estimates[batch] = is_equal.mean(axis=1)
    return estimates


@dataclass(frozen=True)
class Buckets:
    """Texts that agree in one band, bucket after bucket; buckets of one are left out."""

    members: np.ndarray  # int64, ascending within a bucket
    first: np.ndarray  # for each member the place in `members` where its bucket starts
    end: np.ndarray  # and where it ends


def bands(signatures_NP: np.ndarray, rows: int) -> Iterator[Buckets]:
    """Yield the buckets of each band of `rows` numbers."""
    for start in range(0, PERMUTATIONS - rows + 1, rows):
        keys = np.zeros(len(signatures_NP), np.uint64)
        for column in range(start, start + rows):
            keys = _mixed(keys, signatures_NP[:, column])
        yield _buckets(keys)


def _mixed(keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return hashes of the keys and numbers: a shift, exclusive ors and a product modulo 2^64, as in SplitMix64."""
    mixed = keys ^ (keys >> np.uint64(29)) ^ numbers
    return mixed * np.uint64(0xBF58476D1CE4E5B9)


def _buckets(keys: np.ndarray) -> Buckets:
    """Return the buckets of texts with equal keys."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(_is_new(keys[order]))
    sizes = np.diff(np.append(starts, len(keys)))
    has_many = sizes > 1
    members = order[np.repeat(has_many, sizes)]
    sizes = sizes[has_many]
    ends = np.cumsum(sizes)
    return Buckets(
        members=members,
        first=np.repeat(ends - sizes, sizes),
        end=np.repeat(ends, sizes),
    )


def _is_new(values: np.ndarray) -> np.ndarray:
    """Return for each value whether it differs from the one before, bool; True for the first."""
    is_new = np.ones(len(values), bool)
    is_new[1:] = values[1:] != values[:-1]
    return is_new


def rounds(buckets: list[Buckets]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs (left, right) to compare, left < right.

    Every text is paired with the first of its bucket, then with the 1st ... NEIGHBOURS-th next.
    """
    yield _distinct([(bucket.members[bucket.first], bucket.members) for bucket in buckets])
    for step in range(1, NEIGHBOURS + 1):
        pairs = []
        for bucket in buckets:
            neighbours = np.arange(len(bucket.members)) + step
            places = np.flatnonzero(neighbours < bucket.end)
            pairs.append((bucket.members[places], bucket.members[places + step]))
        yield _distinct(pairs)


def _distinct(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of all buckets, each once, without pairs of a text with itself."""
    empty = np.zeros(0, np.int64)  # there may be no pairs
    left = np.concatenate([empty, *(bucket_left for bucket_left, _ in pairs)])
    right = np.concatenate([empty, *(bucket_right for _, bucket_right in pairs)])
    differs = left != right
    packed = left[differs] << 32 | right[differs]
    distinct = np.unique(packed)
    return distinct >> 32, distinct & 0xFFFFFFFF
