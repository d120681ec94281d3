"""Scores of single documents, and the figures of two models on the documents that both scored.

The scores of each document are in `documents.parquet` of the stage evaluate.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from privllm.core.tables import read_table
from privllm.stats.difference import Difference, Transform, difference
from privllm.stats.scores import Score

SCORES = "documents.parquet"
COLUMNS = ("nats", "tokens", "bytes", "correct")
LARGEST = 1 << 30  # bytes of a table that is read


class Figure(NamedTuple):
    """A figure of documents: the ratio of the sums of two columns, transformed."""

    over: str
    under: str
    transform: Transform


def _perplexity(nats_per_token: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(nats_per_token, 700))  # exp(710) is no finite float64


def _bits(nats: np.ndarray) -> np.ndarray:
    return nats / math.log(2)


FIGURES = {
    "loss": Figure("nats", "tokens", np.asarray),
    "perplexity": Figure("nats", "tokens", _perplexity),
    "bits_per_byte": Figure("nats", "bytes", _bits),
    "accuracy": Figure("correct", "tokens", np.asarray),
}


class Overlap(NamedTuple):
    """Counts of the documents that two revisions scored."""

    common: int
    only_a: int
    only_b: int
    changed: int  # of the common ones: edited, or cut elsewhere, so that other bytes of them were scored

    @property
    def same(self) -> bool:
        return not (self.only_a or self.only_b or self.changed)


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


def compare_documents(
    a: pa.Table,
    b: pa.Table,
    figures: Sequence[str] = tuple(FIGURES),
) -> tuple[Overlap, dict[str, Difference]]:
    """Return the documents that both tables score, and {figure: its difference on them}.

    Each document is a group of its own, joined by id. The figures are empty where no document is
    scored by both.
    """
    ids_a = np.array(a["id"].to_pylist(), dtype=object)
    ids_b = np.array(b["id"].to_pylist(), dtype=object)
    ids, rows_a, rows_b = np.intersect1d(ids_a, ids_b, return_indices=True)
    scores_a = {name: a[name].to_numpy()[rows_a] for name in COLUMNS}
    scores_b = {name: b[name].to_numpy()[rows_b] for name in COLUMNS}
    has_changed = scores_a["bytes"] != scores_b["bytes"]
    overlap = Overlap(
        common=len(ids),
        only_a=len(a) - len(ids),
        only_b=len(b) - len(ids),
        changed=int(has_changed.sum()),
    )

    is_scored = np.ones(len(ids), dtype=bool)
    for scores in (scores_a, scores_b):
        is_scored &= (scores["bytes"] > 0) & (scores["tokens"] > 0)
    if not is_scored.any():
        return overlap, {}
    documents = ids[is_scored].tolist()
    differences = {}
    for name in figures:
        figure = FIGURES[name]
        differences[name] = difference(
            Score(scores_a[figure.over][is_scored], scores_a[figure.under][is_scored]),
            Score(scores_b[figure.over][is_scored], scores_b[figure.under][is_scored]),
            documents,
            figure.transform,
        )
    return overlap, differences
