"""The gate's rules: by how much a figure of the candidate may differ from the incumbent's. Pure: no model, no file.

    gate:
      rules:
        bits_per_byte: {max_increase: 0.01}       of every family
        causal.preferences: {max_decrease: 0.02}  of that one

A rule is for the figure of its name, and for all that end with it behind a dot. What is not named is shown, and breaks nothing.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.printable import say

DIFFERENCE, INTERVAL = "difference", "interval"
KNOWN = re.compile(r"(?:\w+\.)?(?:bits_per_byte|forgetting|preferences)|tasks\.[\w-]+\.\w+")  # nothing else is ever measured


@dataclass
class Rule:
    """Limits of a difference, candidate - incumbent, in the figure's own unit; null: no such limit. One below 0 asks for progress."""

    max_increase: float | None = None
    max_decrease: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in asdict(self).values() if limit is not None]
        require(bool(limits), "gate.rules", "max_increase, max_decrease or both, for each figure")
        require(all(map(math.isfinite, limits)), "gate.rules", "finite limits")

    def broken(self, low: float, high: float) -> list[str]:
        """The limits that a difference which may lie anywhere from `low` to `high` does not surely keep."""
        worst = {"max_increase": high, "max_decrease": -low}
        limits = {name: limit for name, limit in asdict(self).items() if limit is not None}
        return [f"{name} {limit:g}" for name, limit in limits.items() if not worst[name] <= limit]  # what is no number keeps none


@dataclass
class GateConfig:
    rules: dict[str, Rule] = field(default_factory=dict)
    evidence: str = DIFFERENCE  # what must keep a limit: the difference, or the worse end of its 95 % interval
    draws: int = 2000  # behind each interval, >= 100

    def __post_init__(self) -> None:
        require(self.evidence in (DIFFERENCE, INTERVAL), "gate.evidence", f"{DIFFERENCE} or {INTERVAL}")
        require(self.draws >= 100, "gate.draws", "at least 100")
        for name in self.rules:
            require(bool(KNOWN.fullmatch(name)), f"gate.rules.{name}", "the name of a figure, such as bits_per_byte or causal.preferences")


class Figure(NamedTuple):
    """One thing measured of both models."""

    incumbent: float
    candidate: float
    interval: tuple[float, float] | None  # of the difference, 95 %; None where there is too little to draw from
    units: int  # documents, examples or prompts behind it

    @property
    def difference(self) -> float:
        return round(self.candidate - self.incumbent, 6)

    def plain(self) -> dict[str, Any]:
        """As it stands in the report; `low` and `high` only where there is an interval."""
        found = {"incumbent": self.incumbent, "candidate": self.candidate, "difference": self.difference, "units": self.units}
        return found | (dict(zip(("low", "high"), self.interval, strict=True)) if self.interval else {})


def rules_for(name: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """The rules that are for the figure `name`."""
    return {key: rule for key, rule in rules.items() if name == key or name.endswith(f".{key}")}


def judge(figures: Mapping[str, Figure], rules: Mapping[str, Rule], evidence: str) -> dict[str, list[str]]:
    """{figure: limits broken} for every figure that has a rule.

    With `evidence` "difference" the difference counts as it was measured, with "interval" its worse end: then a model must be
    shown to keep the limit (non-inferiority), and a figure without an interval does not.
    """
    found: dict[str, list[str]] = {}
    for name, figure in figures.items():
        for rule in rules_for(name, rules).values():
            measured = (figure.difference, figure.difference)
            span = measured if evidence == DIFFERENCE else figure.interval or (-math.inf, math.inf)
            found.setdefault(name, []).extend(rule.broken(*span))
    return found


def without_figure(figures: Iterable[str], rules: Mapping[str, Rule]) -> list[str]:
    """Rules for which nothing was measured."""
    names = list(figures)
    return [key for key in rules if not any(name == key or name.endswith(f".{key}") for name in names)]


def table_of(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The report's figures as lines of text."""
    lines = [("figure", "incumbent", "candidate", "difference", "95 % interval", "of", "verdict")]
    for name, one in figures.items():
        interval = f"{one['low']:+.4f} to {one['high']:+.4f}" if "low" in one else "too few"
        numbers = f"{one['incumbent']:.4f}", f"{one['candidate']:.4f}", f"{one['difference']:+.4f}"
        lines.append((name, *numbers, interval, f"{one['units']:,}", one["verdict"]))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def without_incumbent() -> dict[str, Any]:
    """The report of a build that has nothing to be compared with."""
    return {"incumbent": "", "passed": True, "figures": {}}


def report_of(cfg: GateConfig, incumbent: str, figures: dict[str, Figure]) -> dict[str, Any]:
    """What was measured, and what of it breaks a rule. Raises UserError for a figure that is no number: it would say nothing of either."""
    for name, figure in figures.items():
        if not math.isfinite(figure.difference):
            raise UserError(
                f"`{name}` is no number (incumbent {figure.incumbent}, candidate {figure.candidate}), so the gate cannot judge the model: "
                "look at its training's losses in reports, then train anew with a lower learning rate, or promote again."
            )
    broken = judge(figures, cfg.rules, cfg.evidence)
    shown = {name: figure.plain() | {"verdict": "not asked"} for name, figure in figures.items()}
    for name, limits in broken.items():
        shown[name]["verdict"] = f"broken: {', '.join(limits)}" if limits else "kept"
    passed = not any(broken.values())
    return {"incumbent": incumbent, "passed": passed, "figures": shown, "not_measured": without_figure(figures, cfg.rules)}


def require_pass(report: Mapping[str, Any]) -> None:
    """Print the figures; raise UserError where a rule is broken."""
    if not report["incumbent"]:
        say("No model has been promoted yet, so there is none to be worse than: passed. `privllm promote` promotes this one.")
    elif report["figures"]:
        for line in table_of(report["figures"]):
            say(line)
    if not report["passed"]:
        raise UserError(
            f"the model is worse than {report['incumbent']} by more than `gate.rules` allows: see the table above, or reports/gate.json. "
            "Change data or parameters and run `dvc repro`; with --keep-going it builds what does not depend on the gate."
        )
