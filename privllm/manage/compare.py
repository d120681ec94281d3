"""Comparison of two revisions: every number of the declared reports, its difference, interval and verdict.

A revision is whatever git resolves by a name, or the workspace. Nothing is checked out: metrics are read
from git, the scores of single documents from DVC's cache, by dvc.lock. Where the cache lacks these,
figures have no interval, and a note names the command that fetches them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.engine.cache import Cache, find_cache
from privllm.manage.git_revisions import DIRECTORY
from privllm.manage.revision_metrics import RevisionMetrics, read_revision
from privllm.stats.difference import LEAST_GROUPS, Difference
from privllm.stats.document_scores import BITS, CLEAN_BITS, SCORES, Overlap, compare_documents, read_scores

COMMON = "common."  # before a figure on the documents that both scored
UP, DOWN = 1, -1
GOOD = {
    "accuracy": UP,
    "bleu": UP,
    "chrf": UP,
    **{name: DOWN for traits in TRAITS.values() for name in (traits.bits, traits.clean_bits)},
    "loss": DOWN,
    "train_loss": DOWN,
    "validation_loss": DOWN,
    "perplexity": DOWN,
    "validation_perplexity": DOWN,
}
# not comparable between vocabularies
BY_TOKEN = {"accuracy", "loss", "train_loss", "validation_loss", "perplexity", "validation_perplexity"}
CHOSEN_BY = "validation"  # the split whose documents are compared: people choose by this
BETTER, WORSE, NO_DIFFERENCE, UNSURE = "better", "worse", "no difference shown", " (no interval)"
OTHER_DOCUMENTS, OTHER_VOCABULARY = "other documents", "other vocabulary"


class Row(NamedTuple):
    """One metric in both revisions."""

    file: str  # evaluate/causal
    metric: str  # by_source.notes.loss; COMMON goes before a figure on the documents in common
    a: int | float | None  # None: that revision does not have it
    b: int | float | None
    difference: int | float | None  # b - a
    interval: tuple[float, float] | None
    verdict: str  # "" where it is not defined which direction is good

    @property
    def name(self) -> str:
        return f"{self.file}:{self.metric}"


@dataclass
class Comparison:
    """All metrics of two revisions side by side."""

    a: RevisionMetrics
    b: RevisionMetrics
    rows: list[Row] = field(default_factory=list)
    documents: dict[str, Overlap] = field(default_factory=dict)  # by file, where both have scores
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            "a": {"revision": self.a.name, "commit": self.a.commit},
            "b": {"revision": self.b.name, "commit": self.b.commit},
            "metrics": [row._asdict() for row in self.rows],
            "documents": {file: overlap._asdict() for file, overlap in self.documents.items()},
            "notes": self.notes,
        }

    def visible_rows(self, everything: bool) -> list[Row]:
        """Return the rows to show to a person: those that differ, or all, without repetitions."""
        return [row for row in self.rows if not self._is_repeated(row) and (everything or self._differs(row))]

    def _is_repeated(self, row: Row) -> bool:
        """Return whether a figure on common documents repeats the plain figure."""
        overlap = self.documents.get(row.file)
        return row.metric.startswith(COMMON) and overlap is not None and overlap.same

    def _differs(self, row: Row) -> bool:
        if row.file not in self.a.metrics or row.file not in self.b.metrics:
            return False
        return row.a != row.b or row.metric.startswith(COMMON)


def compare(root: Path, a: str, b: str, family: str = "") -> Comparison:
    """Compare revision `b` with revision `a`.

    Raises UserError for what git or the build does not know, and where there is nothing to compare.
    """
    comparison = Comparison(read_revision(root, a), read_revision(root, b))
    files = _files_to_compare(comparison, family)
    cache = find_cache(root)
    for file in files:
        without = [revision for revision in (comparison.a, comparison.b) if file not in revision.metrics]
        figures: dict[str, Difference] = {}
        if without:
            comparison.notes.append(f"{file}: {without[0]} has no such metrics.")
        elif comparison.b.stages[file][0].partition("@")[0] == "evaluate":
            figures = _figures_in_common(root, comparison, file, cache)
        comparison.rows += _rows(comparison, file, figures)
    return comparison


def _files_to_compare(comparison: Comparison, family: str) -> list[str]:
    """Return the reports of either revision, of one family if it is named.

    Raises UserError where there are none.
    """
    all_files = list(dict.fromkeys([*comparison.b.metrics, *comparison.a.metrics]))
    files = [file for file in all_files if not family or _family_of(file) == family]
    if files:
        return files
    if family:
        families = sorted({_family_of(file) for file in all_files} - {""})
        lack = f"no metrics of a family `{family}` (known: {', '.join(families) or 'none'})"
    else:
        lack = "no metrics: run `dvc repro`, and commit reports"
    raise UserError(f"{comparison.a} and {comparison.b} have {lack}.")


def _family_of(file: str) -> str:
    return file.partition("/")[2]


def _rows(comparison: Comparison, file: str, figures: Mapping[str, Difference]) -> Iterator[Row]:
    """Yield the rows of one report: its metrics, then the figures on documents in common."""
    a, b = comparison.a.metrics.get(file, {}), comparison.b.metrics.get(file, {})
    vocabularies = {comparison.a.vocabulary(file), comparison.b.vocabulary(file)} - {""}
    other_vocabulary = len(vocabularies) > 1
    if other_vocabulary and any(_last_name(metric) in BY_TOKEN for metric in b):
        advice = "loss, perplexity and accuracy are per token"
        comparison.notes.append(f"{file}: another vocabulary. Only bits per byte are comparable; {advice}.")
    overlap = comparison.documents.get(file)
    other_documents = overlap is not None and not overlap.same
    for metric in dict.fromkeys([*b, *a]):
        value_a, value_b = a.get(metric), b.get(metric)
        difference = None
        if value_a is not None and value_b is not None:
            difference = _minus(value_b, value_a)
        interval = None
        if metric in figures and overlap and overlap.same:
            interval = figures[metric].interval
        verdict = _verdict(metric, difference, interval, other_vocabulary, other_documents)
        yield Row(file, metric, value_a, value_b, difference, _usable(interval, verdict), verdict)
    for metric, (value_a, value_b, difference, interval) in figures.items():
        verdict = _verdict(metric, difference, interval, other_vocabulary, False)
        interval = _usable(interval, verdict)
        yield Row(file, COMMON + metric, value_a, value_b, difference, interval, verdict)


def _usable(interval: tuple[float, float] | None, verdict: str) -> tuple[float, float] | None:
    return None if verdict == OTHER_VOCABULARY else interval


def _verdict(
    metric: str,
    difference: float | None,
    interval: tuple[float, float] | None,
    other_vocabulary: bool,
    other_documents: bool,
) -> str:
    """Return whether `b` is better, as far as the interval, or without one the difference, can tell."""
    name = _last_name(metric)
    if name not in GOOD or difference is None:
        return ""
    if other_vocabulary and name in BY_TOKEN:
        return OTHER_VOCABULARY
    if other_documents:
        return OTHER_DOCUMENTS
    if interval:
        low, high = sorted(GOOD[name] * end for end in interval)
        if low <= 0 <= high:
            return NO_DIFFERENCE
        return BETTER if low > 0 else WORSE
    if not difference:
        return ""
    return (BETTER if GOOD[name] * difference > 0 else WORSE) + UNSURE


def _last_name(metric: str) -> str:
    return metric.rpartition(".")[2]


def _minus(b: int | float, a: int | float) -> int | float:
    """Return b - a of the decimals as they are written.

    0.31 - 0.3 is 0.01; in binary it is not, and a limit of 0.01 would be broken by rounding.
    """
    if isinstance(a, int) and isinstance(b, int):
        return b - a
    return float(Decimal(repr(b)) - Decimal(repr(a)))


def _figures_in_common(
    root: Path,
    comparison: Comparison,
    file: str,
    cache: Cache | None,
) -> dict[str, Difference]:
    """Return the figures on the documents that both scored.

    Notes how many these are, or which scores are missing.
    """
    tables = []
    for revision in (comparison.a, comparison.b):
        table = _read_scores(root, revision, file, cache)
        if table is None:
            reason = f"this machine lacks the document scores of {revision}"
            comparison.notes.append(f"{file}: no intervals, because {reason}: {_how_to_get_scores(revision, file)}")
        else:
            tables.append(table)
    if len(tables) < 2:
        return {}
    overlap, figures = compare_documents(*tables)
    comparison.documents[file] = overlap
    comparison.notes.append(_overlap_note(comparison, file, overlap))
    traits = TRAITS[_family_of(file)]
    own_names = {BITS: traits.bits, CLEAN_BITS: traits.clean_bits}
    return {own_names.get(name, name): measured for name, measured in figures.items()}


def _overlap_note(comparison: Comparison, file: str, overlap: Overlap) -> str:
    note = f"{file}: {overlap.common:,} {CHOSEN_BY} documents scored by both"
    if overlap.changed:
        note += f" ({overlap.changed:,} of them with other bytes: edited, or cut elsewhere)"
    if overlap.only_a or overlap.only_b:
        note += f", {overlap.only_a:,} only by {comparison.a}, {overlap.only_b:,} only by {comparison.b}"
    if overlap.common < LEAST_GROUPS:
        note += f"; an interval needs {LEAST_GROUPS}"
    if overlap.same:
        return f"{note}."
    return f"{note}. Names of figures on the documents in common begin with `{COMMON}`."


def _read_scores(root: Path, revision: RevisionMetrics, file: str, cache: Cache | None) -> pa.Table | None:
    """Read the scores of single documents from the workspace or the cache; None where neither has them."""
    stage, outs = revision.stages[file]
    locked = revision.locked.get(stage, {})
    for out in outs:
        if not revision.commit:
            table = read_scores(root / out / SCORES, CHOSEN_BY)
            if table is not None:
                return table
        if cache and DIRECTORY.fullmatch(locked.get(out, "")):
            listing = cache.listing(locked[out]) or {}
            table = read_scores(cache.path(listing[SCORES]), CHOSEN_BY) if SCORES in listing else None
            if table is not None:
                return table
    return None


def _how_to_get_scores(revision: RevisionMetrics, file: str) -> str:
    """Return the command that brings missing scores."""
    stage, outs = revision.stages[file]
    locked_outs = [out for out in outs if out in revision.locked.get(stage, {})]
    if not locked_outs:
        return f"its dvc.lock does not have {' '.join(outs)}; build it there with `dvc repro {stage}`."
    command = "fetch --all-commits" if revision.commit else "pull"
    return f"`dvc {command} {' '.join(locked_outs)}`, where a remote has them."
