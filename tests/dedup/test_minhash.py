"""Signatures estimate Jaccard similarity, and similar texts meet in a bucket."""

import os
import subprocess
import sys

import numpy as np
import pytest

from privllm.dedup.minhash import BAND_RECALL, PERMUTATIONS, bands, rounds, rows_per_band, signatures, similarity

PRINT_SIGNATURE = """
import numpy as np
from privllm.dedup.minhash import signatures
print(signatures(np.arange(1, 301, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), np.array([0, 100, 300], np.uint64)).tolist())
"""


def sets_with(similarity_: float, size: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and offsets of `pairs` times two sets of `size` numbers with a given Jaccard similarity."""
    rng = np.random.default_rng(11)
    common = round(2 * size * similarity_ / (1 + similarity_))
    rows = []
    for _ in range(pairs):
        numbers = rng.integers(0, 1 << 63, 2 * size - common, dtype=np.uint64)
        rows += [numbers[:size], numbers[size - common :]]
    return np.concatenate(rows), np.arange(len(rows) + 1, dtype=np.uint64) * np.uint64(size)


@pytest.mark.parametrize("size", [8, 90, 1500])
@pytest.mark.parametrize("true", [0.3, 0.5, 0.8])
def test_estimate_is_unbiased_and_as_spread_as_promised(true: float, size: int) -> None:
    common = round(2 * size * true / (1 + true))
    exact = common / (2 * size - common)
    signed = signatures(*sets_with(true, size, 200))
    estimates = similarity(signed, np.arange(0, 400, 2), np.arange(1, 400, 2))
    error = (exact * (1 - exact) / PERMUTATIONS) ** 0.5
    assert abs(estimates.mean() - exact) < 4 * error / 200**0.5
    assert estimates.std() < 1.3 * error


def test_signature_ignores_order_and_repeats() -> None:
    numbers = np.arange(1, 50, dtype=np.uint64) * np.uint64(7919)
    both = np.concatenate([numbers, numbers[::-1], numbers[:9]])
    first, second = signatures(both, np.array([0, len(numbers), len(both)], np.uint64))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_signatures_do_not_depend_on_the_process(threads: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "5", "RAYON_NUM_THREADS": threads}
    run = subprocess.run(
        [sys.executable, "-c", PRINT_SIGNATURE], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    signed = signatures(
        np.arange(1, 301, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), np.array([0, 100, 300], np.uint64)
    )
    assert run.stdout.strip() == str(signed.tolist())


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_catch_what_is_at_the_threshold(threshold: float) -> None:
    rows = rows_per_band(threshold)
    assert 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= BAND_RECALL


def test_pairs_at_the_threshold_share_a_bucket_and_strangers_do_not() -> None:
    signed = signatures(*sets_with(0.8, 400, 300))
    met = {
        pair
        for left, right in rounds(list(bands(signed, rows_per_band(0.8))))
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    }
    partners = {(2 * i, 2 * i + 1) for i in range(300)}
    assert len(partners & met) >= 0.97 * 300
    assert not met - partners


def test_a_giant_bucket_stays_linear() -> None:
    same = np.ones((3000, PERMUTATIONS), np.uint32)
    pairs = sum(len(left) for left, _ in rounds(list(bands(same, 6))))
    assert 2999 <= pairs <= 20 * 3000


@pytest.mark.parametrize("texts", [2, 9, 18])
def test_small_buckets_compare_all_pairs(texts: int) -> None:
    same = np.ones((texts, PERMUTATIONS), np.uint32)
    met = {
        pair for left, right in rounds(list(bands(same, 6))) for pair in zip(left.tolist(), right.tolist(), strict=True)
    }
    assert met == {(i, j) for j in range(texts) for i in range(j)}


def test_no_texts() -> None:
    signed = signatures(np.zeros(0, np.uint64), np.zeros(1, np.uint64))
    assert signed.shape == (0, PERMUTATIONS)
    assert all(len(left) == 0 for left, _ in rounds(list(bands(signed, 6))))
