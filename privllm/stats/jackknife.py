"""Intervals of figures that are functions of sums over groups, by the delete-one jackknife and Student's t.

A figure is a ratio of sums, or a difference of two: nats by bytes, correct tokens by tokens. Tokens of one document are
alike, so what is left out is a whole group. The jackknife's standard error (Efron and Stein 1981) is a little too large
for such figures, where the percentile bootstrap's is too small for few groups of unequal size.

A standard error of few groups is itself uncertain, so the interval reaches as far as Student's t does, for as many
degrees of freedom as a sum of squares of these sizes has (Satterthwaite 1946): n - 1 for n groups of one size, fewer
where one group is most of the text. `benchmarks/intervals.py` compares it with others.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import stdtrit

CERTAINTY = 0.95

Figure = Callable[[np.ndarray], np.ndarray]  # of sums [C, ...] -> [...]


def half_width(figure: Figure, sums_by_group: np.ndarray, sizes: Sequence[np.ndarray]) -> float:
    """Return how far the 95 % interval of `figure` reaches to either side of its value.

    `sums_by_group` are [C, G]: the sums of each group. `sizes` are [G] each: what a group weighs in the figure, once for
    each score that it compares. NaN where there are no sizes, or fewer than two groups.
    """
    groups = sums_by_group.shape[1]
    if groups < 2:
        return float("nan")
    without_one = sums_by_group.sum(axis=1, keepdims=True) - sums_by_group
    values = figure(without_one)
    error = np.sqrt((groups - 1) / groups * ((values - values.mean()) ** 2).sum())
    freedom = min(degrees_of_freedom(of_score) for of_score in sizes)
    return float(stdtrit(freedom, (1 + CERTAINTY) / 2) * error)


def degrees_of_freedom(sizes: np.ndarray) -> float:
    """Return the degrees of freedom of a variance that is estimated from groups of these sizes, at most their number - 1."""
    squares = np.asarray(sizes, float) ** 2
    if not squares.any():
        return float("nan")
    shares = squares / squares.sum()
    return float((1 - 1 / len(shares)) / (shares**2).sum())
