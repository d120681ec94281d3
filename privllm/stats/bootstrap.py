"""The percentile bootstrap (Efron 1979) over documents: how far a figure would move, had other documents been drawn.

A figure is made of sums: nats by bytes, guessed tokens by tokens. Tokens of one document are alike, so whole documents are drawn,
with replacement, and the figure is taken of the sums. Of two models that read the same documents, one draw serves both (a paired
bootstrap): what makes a document hard for either then cancels out.
"""

from collections.abc import Sequence

import numpy as np

TAILS = (0.025, 0.975)  # of a 95 % interval


def drawn_sums(columns: Sequence[np.ndarray], draws: int, seed: int) -> np.ndarray:
    """(columns, draws): sums of the columns, which have a row for each document, over as many documents drawn with replacement."""
    table, generator = np.stack([np.asarray(column, float) for column in columns]), np.random.default_rng(seed)
    documents = table.shape[1]
    sums = np.empty((len(columns), draws))
    for i in range(draws):  # no matrix product: its last digits would depend on the number of threads
        sums[:, i] = table.take(generator.integers(0, documents, documents), axis=1).sum(axis=1)
    return sums


def interval_of(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval (low, high) of a figure, given its value in each draw."""
    low, high = np.quantile(values, TAILS)
    return float(low), float(high)
