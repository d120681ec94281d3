"""Table of the fine-tuned models: each task's scores from the pretrained and from random weights.

Both were scored on the same held-out examples. Reads reports/finetune/*.json and computes nothing.
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
    }
