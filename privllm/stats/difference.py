"""Difference of two models' scores of the same examples, with a 95 % interval over groups (`jackknife`).

The interval covers the choice of documents or examples only, not the seed of a training.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from privllm.stats.jackknife import half_width
from privllm.stats.scores import Score, ratios

LEAST_GROUPS = 10  # of fewer an interval holds the truth less often than it says, see docs/explain/statistics.md
DIGITS = 6

Interval = tuple[float, float]
Transform = Callable[[np.ndarray], np.ndarray]


class Difference(NamedTuple):
    """A score of two models, rounded to DIGITS."""

    a: float
    b: float
    difference: float  # b - a
    interval: Interval | None  # of the difference, 95 %; None for too few groups


def difference(a: Score, b: Score, groups: Sequence[str], transform: Transform = np.asarray) -> Difference:
    """Return how far score `b` lies above score `a`, and the interval of that difference.

    Both scores have a value for each example, and `groups` names the group (document, page, conversation) of each.
    Examples of one group are not independent of each other, so groups are what the interval counts (Cameron, Gelbach
    and Miller 2008). Both scores are of the same groups, so what makes a group hard for either cancels out. Difference and
    interval are in the unit of the score after `transform`, which turns a ratio of sums into the figure (exp for
    perplexity).

    The order of examples does not matter. The interval is None for fewer groups than LEAST_GROUPS, and where it would
    not be finite.
    """

    def figure(sums: np.ndarray) -> np.ndarray:
        a_over, a_under, b_over, b_under = sums
        return transform(ratios(b_over, b_under)) - transform(ratios(a_over, a_under))

    value_a = float(transform(np.array(a.value)))
    value_b = float(transform(np.array(b.value)))
    sums = sums_by_group((a.over, a.under, b.over, b.under), groups)
    _, a_sizes, _, b_sizes = sums
    return Difference(
        a=round(value_a, DIGITS),
        b=round(value_b, DIGITS),
        difference=round(value_b - value_a, DIGITS),
        interval=_around(value_b - value_a, half_width(figure, sums, (a_sizes, b_sizes)), sums.shape[1]),
    )


def interval_of(score: Score, groups: Sequence[str], transform: Transform = np.asarray) -> Interval | None:
    """Return the 95 % interval of one score over groups, as `difference` has it of two."""

    def figure(sums: np.ndarray) -> np.ndarray:
        over, under = sums
        return transform(ratios(over, under))

    sums = sums_by_group((score.over, score.under), groups)
    return _around(float(transform(np.array(score.value))), half_width(figure, sums, [sums[1]]), sums.shape[1])


def _around(value: float, reach: float, groups: int) -> Interval | None:
    if groups < LEAST_GROUPS or not math.isfinite(value + reach):
        return None
    return round(value - reach, DIGITS), round(value + reach, DIGITS)


def sums_by_group(columns: Sequence[np.ndarray], groups: Sequence[str]) -> np.ndarray:
    """Return the sum of each column over each group, in the order of their names: [columns, groups]."""
    number_of_group = {name: number for number, name in enumerate(sorted(set(groups)))}
    numbers = np.array([number_of_group[name] for name in groups], np.int64)
    sums = [np.bincount(numbers, weights=values, minlength=len(number_of_group)) for values in columns]
    return np.stack(sums)
