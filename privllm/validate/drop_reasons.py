"""Why things were left out of the corpus, from the reports of `collect` and `clean`: one row for each reason.

A share is of what came to the stage that gave the reason: of all files, and lines of JSONL, what `collect` quarantined; of the documents
what `clean` dropped.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError

COLUMNS = ("reason", "count", "of", "quarantined", "dropped")


@dataclass(frozen=True)
class Collected:
    """Counts of collect's report."""

    entries: int  # files, and lines of JSONL, that were found
    documents: int
    quarantined: dict[str, int]  # by reason


@dataclass(frozen=True)
class Cleaned:
    """Counts of clean's report."""

    documents_in: int
    kept: int
    dropped: dict[str, int]  # by reason


def read_collected(path: Path) -> Collected:
    """Raises UserError for a report that cannot be used."""
    return Collected(**_read(path, ("entries", "documents"), "quarantined"))


def read_cleaned(path: Path) -> Cleaned:
    """Raises UserError for a report that cannot be used."""
    return Cleaned(**_read(path, ("documents_in", "kept"), "dropped"))


def _read(path: Path, counts: tuple[str, ...], by_reason: str) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text("utf-8"))
        found = {key: int(report[key]) for key in counts}
        return found | {by_reason: {str(reason): int(count) for reason, count in report[by_reason].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be used ({type(error).__name__}: {error}): `dvc repro --force {path.stem}` writes it anew."
        ) from error


def reasons(collected: Collected, cleaned: Cleaned) -> list[dict[str, Any]]:
    """Rows of `COLUMNS`: of the two shares one is NaN, which no expectation judges."""
    return [
        *_rows("quarantined", collected.quarantined, collected.entries),
        *_rows("dropped", cleaned.dropped, cleaned.documents_in),
    ]


def _rows(way: str, counts: Mapping[str, int], of: int) -> list[dict[str, Any]]:
    unknown = {"quarantined": math.nan, "dropped": math.nan}
    found = [(reason, count) for reason, count in sorted(counts.items()) if count]
    return [{"reason": reason, "count": count, "of": of} | unknown | {way: count / max(1, of)} for reason, count in found]
