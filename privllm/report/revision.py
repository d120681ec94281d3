"""What this build is beside the one before: where training began, what people said and taught it, and what the gate found.

Rows for the page, of reports that other stages wrote; what is absent is an empty list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privllm.core.printable import printable
from privllm.report.funnel import losses

SCRATCH = "scratch"
ALIGN_FIGURES = {
    "correction_loss": "Loss of corrections that were kept back (nats a token)",
    "preference_accuracy": "Held-out preferences that it shares",
    "reward_accuracy": "Held-out preferences that alignment moved it towards",
    "text_loss": "Loss of pretraining text (nats a token): what was forgotten",
}
PHASES = {"sft": "imitation", "dpo": "preferences"}
FEEDBACK_COUNTS = {
    "lines": "Ratings and votes",
    "kept": "kept",
    "raters": "by people",
    "sft": "corrections and conversations to imitate",
    "preferences": "preferences to learn",
    "held_out": "kept back, to judge by",
}


@dataclass(frozen=True)
class FigureRow:
    """A figure of two models."""

    name: str
    before: float
    after: float
    difference: float
    interval: tuple[float, float] | None
    of: int  # documents, examples or judgements behind it; 0 where none are counted
    verdict: str = ""  # of the gate


def start_rows(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (family or tokenizer, where it begins, what was added to the tokens) of reports/start.json."""
    rows = []
    for name, note in report.items():
        if isinstance(note, Mapping) and "start" in note:
            added = note.get("added") or []
            rows.append((name, note["start"], ", ".join(map(printable, map(str, added)))))
    return rows


def begins_elsewhere(report: Mapping[str, Any]) -> bool:
    """Return whether anything begins with a model that was there before."""
    return any(place != SCRATCH for _, place, _ in start_rows(report))


def feedback_rows(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return (what, how many) of reports/feedback.json; nothing where nobody has said anything."""
    if not report.get("lines") and not report.get("sft"):
        return []
    rows = [(label, int(report[key])) for key, label in FEEDBACK_COUNTS.items() if key in report]
    left_out = losses(report.get("quarantined"))
    return rows + [(f"left out: {loss.reason}", loss.count) for loss in left_out]


@dataclass(frozen=True)
class Alignment:
    """What alignment did to one family."""

    family: str
    passed_through: str  # why the model went on unchanged, "" where it was aligned
    phases: list[tuple[str, Mapping[str, Any]]]
    figures: list[FigureRow]


def alignments(reports: Mapping[str, Mapping[str, Any]]) -> list[Alignment]:
    """Return what the reports of `align` say, by family."""
    rows = []
    for family, report in reports.items():
        phases = [(label, report[key]) for key, label in PHASES.items() if isinstance(report.get(key), Mapping)]
        figures = []
        for key, label in ALIGN_FIGURES.items():
            if key in report:
                figure = report[key]
                figures.append(_row(label, figure["before"], figure["after"], figure, figure.get("judged", 0)))
        rows.append(Alignment(family, report.get("passed_through", ""), phases, figures))
    return rows


def gate_rows(report: Mapping[str, Any]) -> list[FigureRow]:
    """Return the figures of reports/gate.json: of the incumbent, and of this build's model."""
    return [
        _row(name, figure["incumbent"], figure["candidate"], figure, figure["units"])
        for name, figure in report.get("figures", {}).items()
    ]


def _row(name: str, before: float, after: float, figure: Mapping[str, Any], of: int) -> FigureRow:
    """Return a figure as a row; its interval only where the stage wrote one."""
    interval = (figure["low"], figure["high"]) if "low" in figure else None
    verdict = figure.get("verdict", "")
    return FigureRow(name, before, after, figure["difference"], interval, of, verdict)
