"""Table of the fine-tuned models: each task's scores from the pretrained and from random weights, and of baselines without a model.

All were scored on the same held-out examples. Reads reports/finetune/*.json and computes nothing.
"""

import json
from pathlib import Path
from typing import Any

LOWER_IS_BETTER = {"loss"}


def tasks_table(folder: Path) -> list[dict[str, Any]]:
    """Return one row per task, by name; the row of a skipped task has its reason and nothing else."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text("utf-8"))
        rows.append(_row(path.stem, report))
    return rows


def _row(task: str, report: dict[str, Any]) -> dict[str, Any]:
    if "skipped" in report:
        return {"task": task, "skipped": report["skipped"]}
    main = report["main"]
    difference = report.get("difference", {}).get(main)
    return {
        "task": task,
        "skipped": None,
        "family": report["family"],
        "metric": main.replace("_", " ") + (" (lower is better)" if main in LOWER_IS_BETTER else ""),
        "trained": report["examples"]["train"],
        "judged": report["examples"]["test"],
        "random": report.get("random", {}).get(main),
        "pretrained": report["test"][main],
        "difference": difference and difference["difference"],
        "interval": difference and "low" in difference and (difference["low"], difference["high"]),
        "transfers": report.get("transfers"),
        **_beside(report),
    }


def _beside(report: dict[str, Any]) -> dict[str, Any]:
    """Return the model's score beside those of baselines, and what people read of it; without baselines `judged_by` is None."""
    baselines = report.get("baselines") or {}
    judged_by = baselines.get("judged_by")
    sentences = [*baselines.get("sentences", []), *_worth_of_start(report.get("transfers"))]
    skipped = report["examples"].get("skipped")
    if skipped:
        sentences.append(f"Rows of its file that could not be used: {skipped:,}.")
    if not judged_by:
        return {"judged_by": None, "beside": [], "beaten": None, "sentences": sentences}
    beside = [(name, scores[judged_by]) for name, scores in baselines["scores"].items()]
    return {
        "judged_by": judged_by.replace("_", " "),
        "model": report["test"][judged_by],
        "beside": beside,
        "beaten": baselines["beaten"],
        "sentences": sentences,
    }


def _worth_of_start(transfers: bool | None) -> list[str]:
    if transfers is None:
        return []
    verb = "is" if transfers else "is not shown to be"
    return [f"Its start {verb} worth more than random weights."]
