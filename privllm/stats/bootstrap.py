"""Percentile bootstrap (Efron 1979): how far would a figure move with other documents?

A figure is a ratio of sums: nats by bytes, correct tokens by tokens. Tokens of one document are
alike, so whole documents are drawn, with replacement, and the figure is computed from the sums. For
two models that read the same documents, one draw serves both (a paired bootstrap): what makes a
document hard for either then cancels out.
"""

from collections.abc import Sequence

import numpy as np

TAILS = (0.025, 0.975)  # of a 95 % interval


def drawn_sums(columns: Sequence[np.ndarray], draws: int, seed: int) -> np.ndarray:
    """Return (columns, draws): sums over as many documents drawn with replacement.

    A column has a value for each document.
    """
    table = np.stack([np.asarray(column, float) for column in columns])
    generator = np.random.default_rng(seed)
    documents = table.shape[1]
    sums = np.empty((len(columns), draws))
    for draw in range(draws):  # no matrix product: its last digits would depend on the number of threads
        sample = generator.integers(0, documents, documents)
        sums[:, draw] = table.take(sample, axis=1).sum(axis=1)
    return sums


def interval_of(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval (low, high) of a figure from its value in each draw."""
    low, high = np.quantile(values, TAILS)
    return float(low), float(high)
