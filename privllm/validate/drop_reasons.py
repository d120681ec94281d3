"""Reasons why files and documents were left out of the corpus, from the reports of `collect` and `clean`.

There is one row for each reason. A share is of the input of the stage that gave the reason: for what
`collect` quarantined, of all files and documents inside files; for what `clean` dropped, of its documents.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError

# What to turn where a reason takes too much; a reason that is not here is of the file itself, or of an own rule.
PARAMETERS = {
    "too_large": "collect.max_megabytes",
    "language": "clean.languages",
    "html_too_large": "clean.max_html_characters",
    "too_short": "clean.quality.min_words",
    "too_long": "clean.quality.max_words",
    "mean_word_length": "clean.quality.max_mean_word_length",
    "symbol_ratio": "clean.quality.max_symbol_ratio",
    "too_few_stop_words": "clean.quality.min_stop_words",
    "few_alphabetic_words": "clean.quality.min_alphabetic_words",
    "bullet_lines": "clean.quality.max_bullet_lines",
    "ellipsis_lines": "clean.quality.max_ellipsis_lines",
    "duplicate_lines": "clean.quality.max_duplicate_lines",
    "duplicate_paragraphs": "clean.quality.max_duplicate_paragraphs",
    "top_ngram": "clean.quality.max_top_ngram",
    "duplicate_ngrams": "clean.quality.max_duplicate_ngrams",
}
NAMED = 3  # reasons in a sentence, the most frequent
COLUMNS = ("reason", "count", "of", "quarantined", "dropped")


@dataclass(frozen=True)
class Collected:
    """Counts of collect's report."""

    entries: int  # files, and documents inside files, that were found
    documents: int
    quarantined: dict[str, int]  # by reason


@dataclass(frozen=True)
class Cleaned:
    """Counts of clean's report."""

    documents_in: int
    kept: int  # documents, and sections of those that were cut
    dropped: dict[str, int]  # the same, by reason
    cut: int = 0  # of the documents
    sections: int = 0  # that they were cut into

    @property
    def judged(self) -> int:
        """Number of the documents, and of the sections of those that were cut."""
        return self.documents_in - self.cut + self.sections


def read_collected(path: Path) -> Collected:
    """Read collect's report. Raises UserError for one that cannot be used."""
    return Collected(**_read(path, ("entries", "documents"), "quarantined"))


def read_cleaned(path: Path) -> Cleaned:
    """Read clean's report. Raises UserError for one that cannot be used."""
    return Cleaned(**_read(path, ("documents_in", "cut", "sections", "kept"), "dropped"))


def _read(path: Path, counts: tuple[str, ...], by_reason: str) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text("utf-8"))
        figures: dict[str, Any] = {key: int(report[key]) for key in counts}
        figures[by_reason] = {}
        for reason, count in report[by_reason].items():
            figures[by_reason][str(reason)] = int(count)
        return figures
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be used ({type(error).__name__}: {error}): `dvc repro --force {path.stem}` writes it anew."
        ) from error


def reasons(collected: Collected, cleaned: Cleaned) -> list[dict[str, Any]]:
    """Return rows of `COLUMNS`. One of the two shares is NaN, which no expectation judges."""
    return [
        *_rows("quarantined", collected.quarantined, collected.entries),
        *_rows("dropped", cleaned.dropped, cleaned.judged),
    ]


def describe_losses(collected: Collected, cleaned: Cleaned) -> str:
    """Return the most frequent reasons with what to turn: "clean dropped 299 for too_short (clean.quality.min_words)"; "" for none."""
    losses = [(count, "collect quarantined", reason) for reason, count in collected.quarantined.items() if count]
    losses += [(count, "clean dropped", reason) for reason, count in cleaned.dropped.items() if count]
    losses.sort(key=lambda loss: (-loss[0], loss[2]))
    parts = []
    for count, verb, reason in losses[:NAMED]:
        parameter = f" (`{PARAMETERS[reason]}`)" if reason in PARAMETERS else ""
        parts.append(f"{verb} {count:,} for {reason}{parameter}")
    return ", ".join(parts)


def _rows(column: str, counts: Mapping[str, int], total: int) -> list[dict[str, Any]]:
    """Return a row for each reason that occurs, with its share of `total` in `column`."""
    rows = []
    for reason, count in sorted(counts.items()):
        if count:
            row = {"reason": reason, "count": count, "of": total, "quarantined": math.nan, "dropped": math.nan}
            rows.append(row | {column: count / max(1, total)})
    return rows
