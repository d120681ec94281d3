"""The bootstrap against an obvious loop, and against the normal approximation."""

import numpy as np
import pytest

from privllm.stats.bootstrap import drawn_sums, interval_of


def test_sums_are_those_of_an_obvious_loop() -> None:
    columns = [np.array([1.5, 2.0, 4.25, 0.5]), np.array([1, 2, 3, 4])]
    generator = np.random.default_rng(7)
    for drawn in drawn_sums(columns, 50, 7).T:
        rows = [int(row) for row in generator.integers(0, 4, 4)]
        assert drawn.tolist() == [sum(float(column[row]) for row in rows) for column in columns]


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).gamma(4, 2, 500)
    sums, counts = drawn_sums([values, np.ones(500)], 2000, 1)
    low, high = interval_of(sums / counts)
    error = values.std() / np.sqrt(500)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_the_same_seed_gives_the_same_draws() -> None:
    columns = [np.arange(9.0)]
    assert (
        drawn_sums(columns, 20, 3).tolist()
        == drawn_sums(columns, 20, 3).tolist()
        != drawn_sums(columns, 20, 4).tolist()
    )
