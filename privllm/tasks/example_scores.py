"""What every held-out example of a task gave, kept so that the next revision's model can be compared on the same ones.

An example and its group are digests: what it says, and of which document, stays behind.
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
    [("score", pa.string()), ("example", pa.string()), ("group", pa.string()), ("over", pa.float64()), ("under", pa.float64())]
)


class Shared(NamedTuple):
    """A score of both models, on the examples that both were asked."""

    old: Score
    new: Score
    groups: list[str]


def table_of(scores: Mapping[str, Score], answered: Sequence[int], examples: Sequence[Example]) -> pa.Table:
    """SCORED; a score is of all examples, or of those that were `answered` in words."""
    rows = []
    for name, score in sorted(scores.items()):
        of = examples if len(score.over) == len(examples) else [examples[i] for i in answered]
        for example, over, under in zip(of, score.over, score.under, strict=True):
            names = {"example": name_digest("example", example.id, repr(example.content)), "group": name_digest("group", example.group)}
            rows.append({"score": name, **names, "over": float(over), "under": float(under)})
    return pa.Table.from_pylist(rows, SCORED)


def shared(old: Path, new: Path) -> dict[str, Shared]:
    """{score: what both files have of it}; a score of no common example is left out."""
    before = {(row["score"], row["example"]): row for row in read_table(old).to_pylist()}
    found: dict[str, list[tuple[dict, dict]]] = {}
    for row in read_table(new).to_pylist():
        if (row["score"], row["example"]) in before:
            found.setdefault(row["score"], []).append((before[row["score"], row["example"]], row))
    return {
        name: Shared(_score([a for a, _ in rows]), _score([b for _, b in rows]), [b["group"] for _, b in rows])
        for name, rows in found.items()
    }


def _score(rows: Sequence[dict]) -> Score:
    return Score(np.array([row["over"] for row in rows]), np.array([row["under"] for row in rows]))
