"""Degrees of freedom and half widths against what is known of them; coverage is tested with `difference`."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from privllm.stats.jackknife import degrees_of_freedom, half_width


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[0] / sums[1]


def test_groups_of_one_size_have_one_degree_less_than_they_are() -> None:
    assert degrees_of_freedom(np.full(12, 7.0)) == pytest.approx(11)


def test_a_group_that_is_most_of_the_text_leaves_hardly_any() -> None:
    assert degrees_of_freedom(np.array([1e6, *[1.0] * 11])) == pytest.approx(11 / 12)
    assert math.isnan(degrees_of_freedom(np.zeros(12)))


def test_of_a_mean_it_is_students() -> None:
    values = np.random.default_rng(1).gamma(2, 1, 15)
    error = values.std(ddof=1) / math.sqrt(15)
    reach = half_width(mean, np.stack([values, np.ones(15)]), [np.ones(15)])
    assert reach == pytest.approx(student.ppf(0.975, 14) * error)


def test_the_score_with_the_most_unequal_sizes_decides() -> None:
    sums = np.stack([np.arange(15.0), np.ones(15)])
    uneven = np.arange(1.0, 16.0)
    reach = half_width(mean, sums, [np.ones(15), uneven])
    assert reach == half_width(mean, sums, [uneven]) > half_width(mean, sums, [np.ones(15)])


def test_fewer_than_two_groups_say_nothing() -> None:
    for groups in (0, 1):
        assert math.isnan(half_width(mean, np.ones((2, groups)), [np.ones(groups)]))
