"""Two models' scores of the same documents: by how much they differ, and how far that could be the choice of documents.

What one document says of a model is read in `documents.parquet` of the stage evaluate. The interval speaks of documents only: another
seed of training is another matter.
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
LEAST = 6  # of fewer documents all agree by chance more often than once in twenty: 2 * 2**-5 > 0.05
LARGEST = 1 << 30  # bytes of a table that is read
DIGITS = 6


class Overlap(NamedTuple):
    """Which documents two revisions scored."""

    common: int
    only_a: int
    only_b: int
    changed: int  # of the common ones: edited, or cut elsewhere, so that other bytes of them were scored

    @property
    def same(self) -> bool:
        return not (self.only_a or self.only_b or self.changed)


class Paired(NamedTuple):
    """A figure of both revisions on the documents that both scored."""

    a: float
    b: float
    difference: float  # b - a
    interval: tuple[float, float] | None  # None for too few documents


def read_scores(path: Path) -> pa.Table | None:
    """The scores of documents, by id; None where there is no such table, or one that cannot be used."""
    try:
        return read_table(path, ["id", *COLUMNS]) if path.stat().st_size <= LARGEST else None
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def paired(a: pa.Table, b: pa.Table, draws: int = DRAWS) -> tuple[Overlap, dict[str, Paired]]:
    """What `a` and `b` have in common, and {name of FIGURES: figures on that}, empty for nothing in common."""
    names_a, names_b = (np.array(one["id"].to_pylist(), dtype=object) for one in (a, b))
    ids, of_a, of_b = np.intersect1d(names_a, names_b, return_indices=True)
    columns = [one[name].to_numpy()[rows] for one, rows in ((a, of_a), (b, of_b)) for name in COLUMNS]
    sizes = [columns[side + COLUMNS.index("bytes")] for side in (0, len(COLUMNS))]
    overlap = Overlap(len(ids), len(a) - len(ids), len(b) - len(ids), int((sizes[0] != sizes[1]).sum()))
    scored = np.logical_and.reduce([column > 0 for column in (*sizes, columns[1], columns[1 + len(COLUMNS)])])
    columns = [column[scored] for column in columns]
    if not scored.any():
        return overlap, {}
    totals = np.array([column.sum() for column in columns], float)
    drawn = drawn_sums(columns, draws, seed_of("compare")) if scored.sum() >= LEAST else None
    return overlap, {name: _figure(figure, totals, drawn) for name, figure in FIGURES.items()}


def _figure(figure: Callable[..., np.ndarray], totals: np.ndarray, drawn: np.ndarray | None) -> Paired:
    half = len(COLUMNS)
    a, b = float(figure(*totals[:half])), float(figure(*totals[half:]))
    interval = None
    if drawn is not None:
        low, high = interval_of(figure(*drawn[half:]) - figure(*drawn[:half]))
        interval = (round(low, DIGITS), round(high, DIGITS)) if math.isfinite(low + high) else None
    return Paired(round(a, DIGITS), round(b, DIGITS), round(b - a, DIGITS), interval)
