"""From files found to documents kept, as steps that add up.

Reads the stages' reports (plain dicts, any of them may be absent) and computes; it renders nothing. Where two
stages disagree about how many documents passed between them, the funnel says so instead of hiding it.

    >>> funnel({"collect": {"documents": 3, "quarantined": {"empty": 1}}}).steps
    [Step(label='found', count=4, share=1.0, lost=()), Step(label='readable', count=3, share=0.75, lost=(Loss(reason='empty', count=1),))]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

NAMES = {"exact": "exact duplicate", "near": "near-duplicate"}  # the other reasons read well as they are
Reports = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Loss:
    reason: str
    count: int


@dataclass(frozen=True)
class Step:
    label: str
    count: int  # documents that are still in after this step
    share: float  # of what was found, [0, 1]
    lost: tuple[Loss, ...]  # between the step before and this one


@dataclass(frozen=True)
class Funnel:
    steps: tuple[Step, ...]
    disagreements: tuple[str, ...]  # sentences; empty when every document is accounted for

    @property
    def lost(self) -> int:
        return sum(loss.count for step in self.steps for loss in step.lost)


def funnel(reports: Reports) -> Funnel:
    """The steps found, readable, clean, distinct; a step whose report is absent is left out."""
    passed = _passed(reports)
    first = passed[0][1] if passed else 0
    steps = tuple(Step(label, count, count / first if first else 0.0, losses) for label, count, losses in passed)
    problems = []
    for before, step in pairwise(steps):
        lost = sum(loss.count for loss in step.lost)
        if before.count != step.count + lost:
            problems.append(
                f"{before.count:,} documents were {before.label}, but {step.count:,} {step.label} and {lost:,} dropped "
                f"make {step.count + lost:,}."
            )
    return Funnel(steps, tuple(problems))


def _passed(reports: Reports) -> list[tuple[str, int, tuple[Loss, ...]]]:
    collect, clean, dedup = (reports.get(stage) for stage in ("collect", "clean", "dedup"))
    passed: list[tuple[str, int, tuple[Loss, ...]]] = []
    if collect is not None:
        quarantined = losses(collect.get("quarantined"))
        readable = int(collect.get("documents", 0))
        passed.append(("found", readable + sum(loss.count for loss in quarantined), ()))
        passed.append(("readable", readable, quarantined))
    for label, report in (("clean", clean), ("distinct", dedup)):
        if report is None:
            continue
        if not passed:
            passed.append(("given", int(report.get("documents_in", 0)), ()))
        passed.append((label, int(report.get("kept", 0)), losses(report.get("dropped"))))
    return passed


def losses(counts: Mapping[str, int] | None) -> tuple[Loss, ...]:
    """Reasons with a count above zero, largest first, equal ones by name."""
    found = [Loss(NAMES.get(reason, reason.replace("_", " ")), int(count)) for reason, count in (counts or {}).items() if count]
    return tuple(sorted(found, key=lambda loss: (-loss.count, loss.reason)))
