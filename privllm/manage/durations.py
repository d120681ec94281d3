"""Estimated duration of a stage, from the durations of its last runs in `.privllm/log.jsonl`.

A stage that maps over shards takes a fixed time and a time per byte that it makes anew; both are
estimated from its small and its large runs. Other stages are expected to take what they took recently.
The log is of one machine, so every figure is an "about".
"""

import json
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

RECENT = 40  # runs of a stage that count
LATELY = 5


class Run(NamedTuple):
    """One run of a stage, as the log has it."""

    seconds: float
    bytes: int  # of all its shards; 0 for a stage without
    made: int  # bytes of the shards that were not in the store


def read_log(log: Path) -> dict[str, list[Run]]:
    """Return every stage's recent runs, oldest first; a line that a crash cut short is skipped."""
    runs: dict[str, list[Run]] = {}
    for line in log.read_text("utf-8").splitlines() if log.is_file() else []:
        try:
            entry = json.loads(line)
            if entry.get("skipped"):  # see `engine.skipped_families`
                continue
            runs.setdefault(str(entry["stage"]), []).append(_run(entry))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return {stage: stage_runs[-RECENT:] for stage, stage_runs in runs.items()}


def _run(entry: dict[str, Any]) -> Run:
    return Run(float(entry["seconds"]), int(entry.get("bytes", 0)), int(entry.get("bytes_made", 0)))


def predict(runs: list[Run], share: float) -> float | None:
    """Estimate the seconds of a run that makes `share` [0, 1] of its shards anew; None without records."""
    sharded = [run for run in runs if run.bytes]
    if not sharded:
        return median(run.seconds for run in runs[-LATELY:]) if runs else None
    bytes_to_make = share * sharded[-1].bytes
    fixed, per_byte = _fit_line(sharded)
    if per_byte is None:
        return None if bytes_to_make else fixed
    return fixed + per_byte * bytes_to_make


def _fit_line(runs: list[Run]) -> tuple[float, float | None]:
    """Return the fixed seconds and the seconds per byte made.

    The line runs through the medians of the small and of the large runs. The slope is None where no run
    made anything.
    """
    sizes = [run.made for run in runs]
    middle = (min(sizes) + max(sizes)) / 2
    large = [run for run in runs if run.made > middle]
    small = [run for run in runs if run.made <= middle]
    if not large:  # one size only: all of it counts as time per byte
        size, seconds = _median_run(runs)
        return (0.0, seconds / size) if size else (seconds, None)
    small_size, small_seconds = _median_run(small)
    large_size, large_seconds = _median_run(large)
    per_byte = max(0.0, (large_seconds - small_seconds) / (large_size - small_size))
    return max(0.0, small_seconds - per_byte * small_size), per_byte


def _median_run(runs: list[Run]) -> tuple[float, float]:
    """Return the median of the bytes made, and of the seconds."""
    return median(run.made for run in runs), median(run.seconds for run in runs)


def about(seconds: float | None) -> str:
    """Return "under 1 s", "about 12 s", "about 4 min", "about 2.5 h", or "unknown"."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
