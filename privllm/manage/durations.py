"""How long a stage may take, from how long it took: `.privllm/log.jsonl`.

A stage that maps over shards takes a fixed time and a time per byte it makes anew; both are read off its small and its
large runs. Other stages take what they took lately. The log is a hint of one machine, so every figure is an "about".
"""

import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

RECENT = 40  # runs of a stage that count
LATELY = 5


class Run(NamedTuple):
    seconds: float
    bytes: int  # of all its shards; 0 for a stage without
    made: int  # bytes of those it did not find


def read_log(log: Path) -> dict[str, list[Run]]:
    """Every stage's recent runs, oldest first; a line that a crash cut short is passed over."""
    runs: dict[str, list[Run]] = {}
    for line in log.read_text("utf-8").splitlines() if log.is_file() else []:
        try:
            entry = json.loads(line)
            if entry.get("skipped"):  # see `engine.skipped_families`
                continue
            run = Run(float(entry["seconds"]), int(entry.get("bytes", 0)), int(entry.get("bytes_made", 0)))
            runs.setdefault(str(entry["stage"]), []).append(run)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return {stage: found[-RECENT:] for stage, found in runs.items()}


def predict(runs: list[Run], share: float) -> float | None:
    """Seconds of a run that makes `share` [0, 1] of its shards anew; None where no record says."""
    sharded = [run for run in runs if run.bytes]
    if not sharded:
        return median(run.seconds for run in runs[-LATELY:]) if runs else None
    wanted = share * sharded[-1].bytes
    fixed, per_byte = _line(sharded)
    if per_byte is None:
        return fixed if not wanted else None
    return fixed + per_byte * wanted


def _line(runs: list[Run]) -> tuple[float, float | None]:
    """(seconds, seconds per byte made) through the medians of the small and of the large runs; None where all made nothing."""
    sizes = [run.made for run in runs]
    middle = (min(sizes) + max(sizes)) / 2
    small, large = ([run for run in runs if (run.made > middle) == above] for above in (False, True))
    if not large:  # one size only: all of it counts as time per byte
        size, seconds = median(sizes), median(run.seconds for run in runs)
        return (0.0, seconds / size) if size else (seconds, None)
    (x0, y0), (x1, y1) = ((median(run.made for run in part), median(run.seconds for run in part)) for part in (small, large))
    per_byte = max(0.0, (y1 - y0) / (x1 - x0))
    return max(0.0, y0 - per_byte * x0), per_byte


def about(seconds: float | None) -> str:
    """Under 1 s, about 12 s, about 4 min, about 2.5 h, or unknown."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
