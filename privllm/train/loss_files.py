"""Files of a training's losses, in the layout that `dvc plots` and `dvc metrics` read.

    metrics.json                    {"step": 20, "train": {"loss": 2.0}, "validation": {"loss": 2.5}}, the latest of each
    plots/metrics/train/loss.tsv    step, loss; a line for each measurement

Nothing else is written, and no repository is opened.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from privllm.core.report import write_json

Measurement = tuple[str, int, float]  # metric ("train/loss"), step, value


class LossFiles:
    """The losses below one folder, begun anew when this object is made."""

    def __init__(self, folder: Path, measurements: Iterable[Measurement] = ()) -> None:
        """Remove what an earlier training has left in `folder`, and write `measurements`."""
        self.folder = folder
        self.latest: dict[str, Any] = {}
        shutil.rmtree(folder / "plots", ignore_errors=True)
        (folder / "metrics.json").unlink(missing_ok=True)
        for measurement in measurements:
            self._append(*measurement)
        if self.latest:
            self._write_latest()

    def add(self, metric: str, step: int, value: float) -> None:
        """Add one measurement."""
        self._append(metric, step, value)
        self._write_latest()

    def _append(self, metric: str, step: int, value: float) -> None:
        group, name = metric.split("/")
        self.latest.setdefault(group, {})[name] = value
        self.latest["step"] = step
        path = self.folder / "plots/metrics" / group / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as lines:
            if not lines.tell():
                lines.write(f"step\t{name}\n")
            lines.write(f"{step}\t{value}\n")

    def _write_latest(self) -> None:
        write_json(self.folder / "metrics.json", self.latest)
