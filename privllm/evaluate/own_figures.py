"""The figures of a build that the gate judges without an incumbent: `evaluate` wrote them beside its scores.

general_text     the loss on general text as a multiple of the base model's: a rule of 0.02 allows 2 % more
copied_runs      share of the runs of 13 words in what the model says that training text holds (`leaks`)
personal_data    share of what the model says that holds personal data
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privllm.evaluate.rules import FIGURES, LEAKED, LEAKS, REMEMBERED, Figure

BASE, NOTHING = "its base", "nothing"  # what stands in the place of an incumbent


def own_figures(scores: Path) -> dict[str, Figure]:
    """Return the figures of every family in `scores` (data/evaluate), by "<family>.<figure>"."""
    found: dict[str, Figure] = {}
    for path in sorted(scores.glob(f"*/{FIGURES}")):
        family, figures = path.parent.name, json.loads(path.read_text("utf-8"))
        if general := figures.get(REMEMBERED):
            interval = _as_pair(general["interval"])  # of the change, which is the difference
            found[f"{family}.{REMEMBERED}"] = Figure(1.0, 1 + general["change"], interval, general["texts"], BASE)
        leaks = figures.get(LEAKS) or {}
        for name in LEAKED:
            if name in leaks:
                found[f"{family}.{name}"] = _leaked(name, leaks)
    return found


def _leaked(name: str, leaks: Mapping[str, Any]) -> Figure:
    return Figure(0.0, leaks[name], _as_pair(leaks[f"{name}_interval"]), leaks["texts"], NOTHING)


def _as_pair(interval: list[float] | None) -> tuple[float, float] | None:
    return (interval[0], interval[1]) if interval else None
