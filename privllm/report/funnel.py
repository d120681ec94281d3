"""Funnel of the documents: how many were found, readable, clean and distinct, and the losses in between.

Computed from the stages' reports (plain dicts, any of them may be absent). Where two stages disagree
about how many documents passed between them, the funnel says so.

    >>> steps = funnel({"collect": {"documents": 3, "quarantined": {"empty": 1}}}).steps
    >>> [(step.label, step.count, step.share) for step in steps]
    [('found', 4, 1.0), ('readable', 3, 0.75)]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

NAMES = {
    "exact": "exact duplicate",
    "near": "near-duplicate",
    "other_side": "recorded on the other side of the split",
}  # the other reasons read well as they are
IN_SECTIONS = "in sections"  # the step at which long documents are cut
Reports = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Loss:
    """Documents that were dropped for one reason."""

    reason: str
    count: int


@dataclass(frozen=True)
class FunnelStep:
    """Documents that remain after one step."""

    label: str
    count: int  # documents that remain
    share: float  # of the documents found, [0, 1]; cutting documents into sections leaves it as it is
    lost: tuple[Loss, ...]  # between the step before and this one


@dataclass(frozen=True)
class Funnel:
    """All steps, and where their counts disagree."""

    steps: tuple[FunnelStep, ...]
    disagreements: tuple[str, ...]  # sentences; empty when every document is accounted for

    @property
    def gained(self) -> int:
        """How many more there are because long documents were cut."""
        return sum(step.count - before.count for before, step in pairwise(self.steps) if step.label == IN_SECTIONS)

    @property
    def lost(self) -> int:
        return sum(loss.count for step in self.steps for loss in step.lost)


def funnel(reports: Reports) -> Funnel:
    """Return the steps found, readable, clean, distinct; a step whose report is absent is left out."""
    counts = _counts(reports)
    total: float = counts[0][1] if counts else 0
    steps: list[FunnelStep] = []
    for label, count, step_losses in counts:
        if label == IN_SECTIONS:
            total *= count / max(1, steps[-1].count)
        share = count / total if total else 0.0
        steps.append(FunnelStep(label, count, share, step_losses))
    disagreements = []
    for before, step in pairwise(steps):
        if step.label == IN_SECTIONS:
            continue
        lost = sum(loss.count for loss in step.lost)
        if before.count != step.count + lost:
            remaining = f"{step.count:,} {step.label} and {lost:,} dropped make {step.count + lost:,}"
            disagreements.append(f"{before.count:,} documents were {before.label}, but {remaining}.")
    return Funnel(tuple(steps), tuple(disagreements))


def _counts(reports: Reports) -> list[tuple[str, int, tuple[Loss, ...]]]:
    """Return label, documents that remain, and losses of each step."""
    counts: list[tuple[str, int, tuple[Loss, ...]]] = []
    collect = reports.get("collect")
    if collect is not None:
        quarantined = losses(collect.get("quarantined"))
        readable = int(collect.get("documents", 0))
        total = readable + sum(loss.count for loss in quarantined)
        counts += [("found", total, ()), ("readable", readable, quarantined)]
    for label, stage in (("clean", "clean"), ("distinct", "dedup")):
        report = reports.get(stage)
        if report is None:
            continue
        if not counts:
            counts.append(("given", int(report.get("documents_in", 0)), ()))
        if report.get("cut"):
            counts.append((IN_SECTIONS, counts[-1][1] - int(report["cut"]) + int(report["sections"]), ()))
        counts.append((label, int(report.get("kept", 0)), losses(report.get("dropped"))))
    return counts


def losses(counts: Mapping[str, int] | None) -> tuple[Loss, ...]:
    """Return the reasons with a count above zero, largest first, equal ones by name."""
    result = []
    for reason, count in (counts or {}).items():
        if count:
            name = NAMES.get(reason, reason.replace("_", " "))
            result.append(Loss(name, int(count)))
    return tuple(sorted(result, key=lambda loss: (-loss.count, loss.reason)))
