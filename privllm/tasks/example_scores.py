"""Scores of every held-out example of a task, stored so that the next model is compared on the same examples.

Examples and groups are stored as digests, which reveal neither texts nor documents.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from privllm.core.seed import name_digest
from privllm.core.tables import read_table
from privllm.stats.scores import Score
from privllm.tasks.formats import Example

FILE = "scores.parquet"  # in data/finetune/<task>
TASKS = "tasks"  # below the incumbent: <task>.parquet
SCORED = pa.schema(
    [
        ("score", pa.string()),
        ("example", pa.string()),
        ("group", pa.string()),
        ("over", pa.float64()),
        ("under", pa.float64()),
    ]
)


class Shared(NamedTuple):
    """A score of both models, on the examples that both have answered."""

    old: Score
    new: Score
    groups: list[str]


def table_of(
    scores: Mapping[str, Score],
    answered: Sequence[int],
    examples: Sequence[Example],
) -> pa.Table:
    """Return SCORED.

    A score is of all examples, or of those at the indices `answered`, which were answered in words.
    """
    rows = []
    answered_examples = [examples[i] for i in answered]
    for name, score in sorted(scores.items()):
        scored_examples = examples if len(score.over) == len(examples) else answered_examples
        for example, over, under in zip(scored_examples, score.over, score.under, strict=True):
            row = {
                "score": name,
                "example": name_digest("example", example.id, repr(example.content)),
                "group": name_digest("group", example.group),
                "over": float(over),
                "under": float(under),
            }
            rows.append(row)
    return pa.Table.from_pylist(rows, SCORED)


def shared(old: Path, new: Path) -> dict[str, Shared]:
    """Return {score: its values of the examples in both files}; a score without common examples is left out."""
    earlier_rows = {(row["score"], row["example"]): row for row in read_table(old).to_pylist()}
    pairs: dict[str, list[tuple[dict, dict]]] = {}
    for row in read_table(new).to_pylist():
        earlier_row = earlier_rows.get((row["score"], row["example"]))
        if earlier_row:
            pairs.setdefault(row["score"], []).append((earlier_row, row))
    return {name: _shared_score(row_pairs) for name, row_pairs in pairs.items()}


def _shared_score(row_pairs: Sequence[tuple[dict, dict]]) -> Shared:
    earlier_rows, later_rows = zip(*row_pairs, strict=True)
    return Shared(_score(earlier_rows), _score(later_rows), [row["group"] for row in later_rows])


def _score(rows: Sequence[dict]) -> Score:
    over = np.array([row["over"] for row in rows])
    under = np.array([row["under"] for row in rows])
    return Score(over, under)
