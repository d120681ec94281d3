"""Difference of two models' scores of the same documents, with an interval.

The scores of each document are in `documents.parquet` of the stage evaluate. The interval covers
the choice of documents only, not the seed of a training.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from privllm.core.seed import seed_of
from privllm.core.tables import read_table
from privllm.stats.bootstrap import drawn_sums, interval_of

SCORES = "documents.parquet"
COLUMNS = ("nats", "tokens", "bytes", "correct")
FIGURES: dict[str, Callable[..., np.ndarray]] = {
    "loss": lambda nats, tokens, sizes, correct: nats / tokens,
    "perplexity": lambda nats, tokens, sizes, correct: np.exp(np.minimum(nats / tokens, 700)),
    "bits_per_byte": lambda nats, tokens, sizes, correct: nats / math.log(2) / sizes,
    "accuracy": lambda nats, tokens, sizes, correct: correct / tokens,
}
DRAWS = 2000
LEAST = 6  # documents; fewer agree all by chance more often than once in twenty: 2 * 2**-5 > 0.05
LARGEST = 1 << 30  # bytes of a table that is read
DIGITS = 6


class Overlap(NamedTuple):
    """Counts of the documents that two revisions scored."""

    common: int
    only_a: int
    only_b: int
    changed: int  # of the common ones: edited, or cut elsewhere, so that other bytes of them were scored

    @property
    def same(self) -> bool:
        return not (self.only_a or self.only_b or self.changed)


class Paired(NamedTuple):
    """A figure of two revisions on the documents that both scored."""

    a: float
    b: float
    difference: float  # b - a
    interval: tuple[float, float] | None  # None for too few documents


def read_scores(path: Path) -> pa.Table | None:
    """Return the scores of documents (id, `COLUMNS`).

    None where there is no such table, or an unusable one.
    """
    try:
        if path.stat().st_size > LARGEST:
            return None
        return read_table(path, ["id", *COLUMNS])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def paired(a: pa.Table, b: pa.Table, draws: int = DRAWS) -> tuple[Overlap, dict[str, Paired]]:
    """Return the documents that both tables score, and {name of FIGURES: its values on them}.

    The latter is empty where no document is scored by both.
    """
    ids_a = np.array(a["id"].to_pylist(), dtype=object)
    ids_b = np.array(b["id"].to_pylist(), dtype=object)
    ids, rows_a, rows_b = np.intersect1d(ids_a, ids_b, return_indices=True)
    scores_a = {name: a[name].to_numpy()[rows_a] for name in COLUMNS}
    scores_b = {name: b[name].to_numpy()[rows_b] for name in COLUMNS}
    changed = int((scores_a["bytes"] != scores_b["bytes"]).sum())
    overlap = Overlap(len(ids), len(a) - len(ids), len(b) - len(ids), changed)

    is_scored = np.ones(len(ids), dtype=bool)
    for scores in (scores_a, scores_b):
        is_scored &= (scores["bytes"] > 0) & (scores["tokens"] > 0)
    if not is_scored.any():
        return overlap, {}
    columns = [column[is_scored] for column in (*scores_a.values(), *scores_b.values())]
    totals = np.array([column.sum() for column in columns], float)
    sums = None
    if is_scored.sum() >= LEAST:
        sums = drawn_sums(columns, draws, seed_of("compare"))
    return overlap, {name: _compare(figure, totals, sums) for name, figure in FIGURES.items()}


def _compare(figure: Callable[..., np.ndarray], totals: np.ndarray, sums: np.ndarray | None) -> Paired:
    """Return a figure of both revisions.

    `totals` holds the sums of `COLUMNS` of a, then those of b; `sums` (2 * columns, draws) the same
    for each draw.
    """
    half = len(COLUMNS)
    a, b = float(figure(*totals[:half])), float(figure(*totals[half:]))
    interval = None
    if sums is not None:
        low, high = interval_of(figure(*sums[half:]) - figure(*sums[:half]))
        if math.isfinite(low + high):
            interval = (round(low, DIGITS), round(high, DIGITS))
    return Paired(round(a, DIGITS), round(b, DIGITS), round(b - a, DIGITS), interval)
