"""Near-duplicates by MinHash signatures and locality-sensitive hashing: which pairs are worth comparing, and roughly how alike they are.

A signature of P numbers stands for a text; two texts agree in a share of them that estimates the Jaccard similarity
of their shingles (Broder 1997; rensa's R-MinHash after Fast Similarity Sketching, Dahlgaard et al. 2017). Cut into bands
of r numbers, similar texts agree in at least one whole band (Indyk and Motwani 1998). It never looks at text.
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
    """MinHash signatures, uint32 (texts, PERMUTATIONS); text i has the shingles `hashes[offsets[i]:offsets[i + 1]]`."""
    from rensa import RMinHash  # here, so that a process that has not signed anything can be forked: its threads cannot

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, PERMUTATIONS, SEED)
    numbers = chain.from_iterable(matrix.to_rows())
    return np.fromiter(numbers, np.uint32, (len(offsets) - 1) * PERMUTATIONS).reshape(-1, PERMUTATIONS)


def rows_per_band(threshold: float) -> int:
    """The most numbers a band may have so that a pair at `threshold` shares one with a chance of BAND_RECALL."""
    good = [r for r in range(1, PERMUTATIONS + 1) if 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= BAND_RECALL]
    return max(good, default=1)


def similarity(signatures_NP: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity of the pairs (left[i], right[i]), float64; its error at s is sqrt(s(1 - s) / PERMUTATIONS)."""
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(left), PAIRS_AT_ONCE)]
    return np.concatenate([np.zeros(0), *((signatures_NP[left[part]] == signatures_NP[right[part]]).mean(axis=1) for part in parts)])


@dataclass(frozen=True)
class Buckets:
    """Texts that agree in one band, bucket after bucket; buckets of one are left out."""

    members: np.ndarray  # int64, ascending within a bucket
    first: np.ndarray  # for each member the place in `members` where its bucket starts
    end: np.ndarray  # and where it ends


def bands(signatures_NP: np.ndarray, rows: int) -> Iterator[Buckets]:
    """The buckets of each band of `rows` numbers."""
    for start in range(0, PERMUTATIONS - rows + 1, rows):
        keys = np.zeros(len(signatures_NP), np.uint64)
        for column in range(start, start + rows):
            keys = (keys ^ (keys >> np.uint64(29)) ^ signatures_NP[:, column]) * np.uint64(0xBF58476D1CE4E5B9)
        yield _buckets(keys)


def _buckets(keys: np.ndarray) -> Buckets:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), bool), ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.append(starts, len(keys)))
    many = sizes > 1
    members = order[np.repeat(many, sizes)]
    sizes = sizes[many]
    ends = np.cumsum(sizes)
    return Buckets(members, np.repeat(ends - sizes, sizes), np.repeat(ends, sizes))


def rounds(buckets: list[Buckets]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (left, right) to compare, left < right: first with the first of the bucket, then with the 1st ... NEIGHBOURS-th next."""
    yield _distinct([(bucket.members[bucket.first], bucket.members) for bucket in buckets])
    for step in range(1, NEIGHBOURS + 1):
        pairs = []
        for bucket in buckets:
            here = np.flatnonzero(np.arange(len(bucket.members)) + step < bucket.end)
            pairs.append((bucket.members[here], bucket.members[here + step]))
        yield _distinct(pairs)


def _distinct(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    both = np.concatenate([np.zeros((0, 2), np.int64), *(np.stack(pair, axis=1) for pair in pairs)])
    both = both[both[:, 0] != both[:, 1]]
    packed = np.unique(both[:, 0] << 32 | both[:, 1])
    return packed >> 32, packed & 0xFFFFFFFF
