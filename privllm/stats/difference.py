"""Difference of two models' scores of the same examples, with a 95 % interval: a paired bootstrap over groups.

The interval covers the choice of documents or examples only, not the seed of a training.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from privllm.stats.bootstrap import drawn_sums, interval_of
from privllm.stats.scores import Score, ratios

DRAWS = 2000
LEAST_GROUPS = 10  # of fewer an interval holds the truth less often than it says, see docs/explain/statistics.md
DIGITS = 6

Transform = Callable[[np.ndarray], np.ndarray]


class Difference(NamedTuple):
    """A score of two models, rounded to DIGITS."""

    a: float
    b: float
    difference: float  # b - a
    interval: tuple[float, float] | None  # of the difference, 95 %; None for too few groups


def difference(
    a: Score,
    b: Score,
    groups: Sequence[str],
    seed: int,
    draws: int = DRAWS,
    least_groups: int = 1,
    transform: Transform = np.asarray,
) -> Difference:
    """Return how far score `b` lies above score `a`, and the interval of that difference.

    Both scores have a value for each example, and `groups` names the group (document, page,
    conversation) of each. Groups are drawn with replacement, each with all its examples, since
    examples of one group are not independent of each other (Cameron, Gelbach and Miller 2008); as
    many are drawn as there are. The same draws serve both scores, so what makes a group hard for
    either cancels out. The interval goes from the 2.5th to the 97.5th percentile of the differences
    in `draws` draws (percentile bootstrap, Efron 1979). Difference and interval are in the unit of
    the score after `transform`, which turns a ratio of sums into the figure (exp for perplexity).

    The order of examples does not matter. The interval is None for fewer groups than
    `least_groups`, and where it would not be finite.
    """
    value_a = float(transform(np.array(a.value)))
    value_b = float(transform(np.array(b.value)))
    interval = None
    if len(set(groups)) >= max(1, least_groups):
        interval = _interval(a, b, groups, seed, draws, transform)
    return Difference(
        a=round(value_a, DIGITS),
        b=round(value_b, DIGITS),
        difference=round(value_b - value_a, DIGITS),
        interval=interval,
    )


def _interval(
    a: Score,
    b: Score,
    groups: Sequence[str],
    seed: int,
    draws: int,
    transform: Transform,
) -> tuple[float, float] | None:
    group_numbers = _numbers_of(groups)
    columns = (a.over, a.under, b.over, b.under)
    sums_by_group = [np.bincount(group_numbers, weights=values) for values in columns]
    a_over, a_under, b_over, b_under = drawn_sums(sums_by_group, draws, seed)
    differences = transform(ratios(b_over, b_under)) - transform(ratios(a_over, a_under))
    low, high = interval_of(differences)
    if not math.isfinite(low + high):
        return None
    return round(low, DIGITS), round(high, DIGITS)


def _numbers_of(groups: Sequence[str]) -> list[int]:
    """Return the number of each example's group, in the order of their names."""
    number_of_group = {name: number for number, name in enumerate(sorted(set(groups)))}
    return [number_of_group[name] for name in groups]
