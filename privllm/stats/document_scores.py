"""Scores of single documents, and the figures of two models on the documents that both scored.

The scores of each document are in `documents.parquet` of the stage evaluate.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.tables import read_table
from privllm.stats.difference import Difference, Transform, difference
from privllm.stats.scores import Score

SCORES = "documents.parquet"
BITS, CLEAN_BITS = "bits_per_byte", "bits_per_byte_clean"  # a family may call them otherwise: `core.families`
COLUMNS = ("nats", "tokens", "bytes", "correct", "clean_nats", "clean_bytes")
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
    BITS: Figure("nats", "bytes", _bits),
    CLEAN_BITS: Figure("clean_nats", "clean_bytes", _bits),
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


def read_scores(path: Path, split: str) -> pa.Table | None:
    """Return the scores of the documents of a split (id, `COLUMNS`).

    None where there is no such table, or an unusable one.
    """
    try:
        if path.stat().st_size > LARGEST:
            return None
        table = read_table(path, ["id", "split", *COLUMNS])
        return table.filter(pc.equal(table["split"], split)).drop_columns(["split"])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def compare_documents(
    a: pa.Table,
    b: pa.Table,
    figures: Sequence[str] = tuple(FIGURES),
) -> tuple[Overlap, dict[str, Difference]]:
    """Return the documents that both tables score, and {figure: its difference on them}.

    Each document is a group of its own, joined by id. A document counts for a figure where both have something of it; a
    figure of no document is left out.
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

    differences = {}
    for name in figures:
        figure = FIGURES[name]
        is_scored = (scores_a[figure.under] > 0) & (scores_b[figure.under] > 0)
        if not is_scored.any():
            continue
        differences[name] = difference(
            Score(scores_a[figure.over][is_scored], scores_a[figure.under][is_scored]),
            Score(scores_b[figure.over][is_scored], scores_b[figure.under][is_scored]),
            ids[is_scored].tolist(),
            figure.transform,
        )
    return overlap, differences
