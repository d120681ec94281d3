"""The gate's rules: by how much a figure of the candidate may differ from the incumbent's. Pure: no model, no file.

    gate:
      rules:
        bits_per_byte_clean: {max_increase: 0.01}  of every family that has it
        causal.forgetting: {max_increase: 0.02}    of that one

A rule applies to the figure of its name, and to all whose name ends with it behind a dot. A figure without a rule is
reported, and breaks nothing.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.params import require
from privllm.core.printable import say

DIFFERENCE, INTERVAL = "difference", "interval"
FIGURES = "figures.json"  # in data/evaluate/<family>: what is judged without an incumbent, see `own_figures`
LEAKS, REMEMBERED = "leaks", "general_text"  # in that file
LEAKED = ("copied_runs", "personal_data")  # of the leaks
BESIDE_INCUMBENT = ("forgetting", "preferences")
# nothing else is ever measured
NAMES = (*(traits.clean_bits for traits in TRAITS.values()), *BESIDE_INCUMBENT, REMEMBERED, *LEAKED)
KNOWN = re.compile(rf"(?:\w+\.)?(?:{'|'.join(NAMES)})|tasks\.[\w-]+\.\w+")


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
        """Return the limits that a difference anywhere from `low` to `high` may exceed; one that is not a number exceeds all."""
        worst = {"max_increase": high, "max_decrease": -low}
        exceeded = []
        for name, limit in asdict(self).items():
            if limit is not None and not worst[name] <= limit:
                exceeded.append(f"{name} {limit:g}")
        return exceeded


@dataclass
class GateConfig:
    # by figure: `max_increase`, `max_decrease` or both; a figure without a rule is reported and not judged
    rules: dict[str, Rule] = field(default_factory=dict)
    evidence: str = DIFFERENCE  # what must keep a limit: the difference, or the worse end of its 95 % interval

    def __post_init__(self) -> None:
        require(self.evidence in (DIFFERENCE, INTERVAL), "gate.evidence", f"{DIFFERENCE} or {INTERVAL}")
        for name in self.rules:
            require(
                bool(KNOWN.fullmatch(name)),
                f"gate.rules.{name}",
                "the name of a figure, such as bits_per_byte_clean or causal.preferences",
            )


class Figure(NamedTuple):
    """A measurement of both models."""

    incumbent: float
    candidate: float
    interval: tuple[float, float] | None  # of the difference, 95 %; None where there is too little to draw from
    units: int  # documents, examples, prompts or texts behind it
    against: str = ""  # what stands in the place of the incumbent: its base, or nothing

    @property
    def difference(self) -> float:
        return round(self.candidate - self.incumbent, 6)

    def plain(self) -> dict[str, Any]:
        """Return the figure as it stands in the report; `low` and `high` only where there is an interval."""
        values: dict[str, Any] = {
            "incumbent": self.incumbent,
            "candidate": self.candidate,
            "difference": self.difference,
            "units": self.units,
        }
        if self.interval:
            values["low"], values["high"] = self.interval
        if self.against:
            values["against"] = self.against
        return values


def rules_for(name: str, rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return the rules that apply to the figure `name`."""
    applying = {}
    for rule_name, rule in rules.items():
        if _applies(rule_name, name):
            applying[rule_name] = rule
    return applying


def _applies(rule: str, figure: str) -> bool:
    return figure == rule or figure.endswith(f".{rule}")


def judge(figures: Mapping[str, Figure], rules: Mapping[str, Rule], evidence: str) -> dict[str, list[str]]:
    """Return {figure: limits broken} for every figure that has a rule.

    With `evidence` "difference" the difference counts as it was measured, with "interval" its worse end: then a
    model must be shown to keep the limit (non-inferiority), and a figure without an interval does not keep it.
    """
    broken: dict[str, list[str]] = {}
    for name, figure in figures.items():
        low, high = _range_of(figure, evidence)
        for rule in rules_for(name, rules).values():
            broken.setdefault(name, []).extend(rule.broken(low, high))
    return broken


def _range_of(figure: Figure, evidence: str) -> tuple[float, float]:
    """Return between which values the difference may lie."""
    if evidence == DIFFERENCE:
        return figure.difference, figure.difference
    return figure.interval or (-math.inf, math.inf)


def without_figure(figures: Iterable[str], rules: Mapping[str, Rule]) -> list[str]:
    """Return the rules for which nothing was measured."""
    names = list(figures)
    not_measured = []
    for rule in rules:
        if not any(_applies(rule, name) for name in names):
            not_measured.append(rule)
    return not_measured


def table_of(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the report's figures as lines of text, in columns."""
    rows = [("figure", "incumbent", "candidate", "difference", "95 % interval", "of", "verdict")]
    for name, figure in figures.items():
        interval = "too few"
        if "low" in figure:
            interval = f"{figure['low']:+.4f} to {figure['high']:+.4f}"
        row = (
            name,
            f"{figure['incumbent']:.4f} {figure.get('against', '')}".rstrip(),
            f"{figure['candidate']:.4f}",
            f"{figure['difference']:+.4f}",
            interval,
            f"{figure['units']:,}",
            figure["verdict"],
        )
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def without_incumbent(cfg: GateConfig, figures: dict[str, Figure]) -> dict[str, Any]:
    """Return the report of a build that has no incumbent, only `figures` of its own (`own_figures`)."""
    return report_of(cfg, "", figures) | {"not_measured": []}


def report_of(
    cfg: GateConfig, incumbent: str, figures: dict[str, Figure], left_out: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return the report: what was measured, and which rules it breaks. Raises UserError for a figure that is not a number.

    `left_out` counts by family the documents that judged nothing.
    """
    for name, figure in figures.items():
        if not math.isfinite(figure.difference):
            raise UserError(
                f"`{name}` is not a number (incumbent {figure.incumbent}, candidate {figure.candidate}), "
                "so the gate cannot judge the model: look at its training's losses in reports, "
                "then train again with a lower learning rate, or promote again."
            )
    broken = judge(figures, cfg.rules, cfg.evidence)
    reported = {}
    for name, figure in figures.items():
        reported[name] = figure.plain() | {"verdict": _verdict(broken.get(name))}
    return {
        "incumbent": incumbent,
        "passed": not any(broken.values()),
        "figures": reported,
        "not_measured": without_figure(figures, cfg.rules),
        "left_out": dict(left_out or {}),
    }


def _verdict(broken_limits: list[str] | None) -> str:
    """Return the verdict on a figure; None is for one without a rule."""
    if broken_limits is None:
        return "not asked"
    if not broken_limits:
        return "kept"
    return f"broken: {', '.join(broken_limits)}"


def require_pass(report: Mapping[str, Any]) -> None:
    """Print the figures; raise UserError where a rule is broken."""
    if not report["incumbent"]:
        say(
            "No model has been promoted yet, so there is none to compare with. `privllm promote` promotes one that passes."
        )
    if report["figures"]:
        for line in table_of(report["figures"]):
            say(line)
        if any(report["left_out"].values()):
            counts = ", ".join(f"{family} {count:,}" for family, count in report["left_out"].items())
            say(f"Left out for both, because the incumbent was trained on them: {counts} documents.")
    if not report["passed"]:
        raise UserError(
            f"{_failed(report['incumbent'])}: see the table above, or reports/gate.json. "
            "`dvc repro --single-item report` writes the report all the same. Change data or parameters and run `dvc repro`."
        )


def _failed(incumbent: str) -> str:
    if not incumbent:
        return "the model breaks a limit of `gate.rules`"
    return f"the model is worse than {incumbent} by more than `gate.rules` allows"
