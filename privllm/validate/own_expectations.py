"""Expectations of a project's own: the dict EXPECTATIONS of its extensions, `{sentence: Expectation(...)}`.

Each is about every document, or a share of them: a figure, which is a column of `statistics.STATISTICS` or
a pure function of the text, lies between two limits. Great Expectations judges it beside privllm's own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from privllm.core.errors import UserError
from privllm.engine.extensions import Extensions
from privllm.engine.load_extensions import Entry, entries_of
from privllm.validate.expectations import SEVERITIES, Check
from privllm.validate.statistics import STATISTICS

Figure = Callable[[str], float | None]


@dataclass(frozen=True)
class Expectation:
    """What the documents must be like; its name in EXPECTATIONS is the sentence that people read."""

    figure: str | Figure  # a column, such as "words", or a function of a clean text; None is not judged
    min_value: float | None = None
    max_value: float | None = None
    severity: str = "warning"  # or "critical", which stops the build
    mostly: float = 1.0  # share of the documents, (0, 1]

    @property
    def limits(self) -> dict[str, float]:
        """The limits as the kind "between" takes them."""
        limits = {"min_value": self.min_value, "max_value": self.max_value}
        shares = {"mostly": self.mostly} if self.mostly < 1 else {}
        return {key: value for key, value in limits.items() if value is not None} | shares


@cache
def own_expectations(extensions: Extensions) -> Mapping[str, Entry]:
    """Return the expectations by sentence. Raises UserError for one that cannot be used."""
    entries = entries_of("EXPECTATIONS", extensions)
    for sentence, entry in entries.items():
        entry.require(sentence == " ".join(sentence.split()) != "", "must be a sentence on one line")
        entry.require(sentence not in STATISTICS.names, "is the name of a column: write a sentence")
        entry.require(isinstance(entry.value, Expectation), "must be Expectation(figure, min_value, max_value, ...)")
        _require_usable(entry, entry.value)
    return entries


def _require_usable(entry: Entry, expectation: Expectation) -> None:
    """Raise UserError for a figure, limits, a severity or a share that mean nothing."""
    numbers = [name for name in STATISTICS.names if not pa.types.is_string(STATISTICS.field(name).type)]
    is_figure = callable(expectation.figure) or expectation.figure in numbers
    entry.require(is_figure, f"has no figure: it must be a function of a text, or one of {', '.join(numbers)}")
    limits = [value for value in (expectation.min_value, expectation.max_value) if value is not None]
    entry.require(bool(limits), "has no limit: give min_value or max_value")
    are_numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in limits)
    entry.require(are_numbers and limits == sorted(limits), "has limits that are no numbers, or in the wrong order")
    entry.require(expectation.severity in SEVERITIES, f"has a severity other than {' and '.join(SEVERITIES)}")
    is_share = isinstance(expectation.mostly, int | float) and 0 < expectation.mostly <= 1
    entry.require(is_share, "has a `mostly` that is no share: it must be above 0 and at most 1")


def own_checks(extensions: Extensions, taken: set[str]) -> list[Check]:
    """Return the expectations as checks of documents. Raises UserError for a sentence of `taken`, privllm's own."""
    checks = []
    for sentence, entry in own_expectations(extensions).items():
        entry.require(sentence not in taken, "is an expectation of privllm's own: write another sentence")
        expectation: Expectation = entry.value
        column = sentence if callable(expectation.figure) else expectation.figure
        checks.append(Check(sentence, expectation.severity, "between", {"column": column, **expectation.limits}))
    return checks


def with_own_figures(extensions: Extensions, statistics: pa.Table, documents: pa.Table) -> pa.Table:
    """Return the statistics of `documents` with a column for each expectation that has a function; a null where it gives None.

    Raises UserError, with the document's source, for a figure that is no number.
    """
    for sentence, entry in own_expectations(extensions).items():
        if callable(entry.value.figure):
            rows = documents.select(["text", "source"]).to_pylist()
            values = [_figure(entry, row["text"] or "", row["source"] or "") for row in rows]
            statistics = statistics.append_column(sentence, pa.array(values, pa.float64()))
    return statistics


def _figure(entry: Entry, text: str, source: str) -> float | None:
    with entry.blamed(source):
        value = entry.value.figure(text)
    is_number = value is None or (isinstance(value, bool | int | float) and math.isfinite(value))
    if not is_number:
        raise UserError(
            f"{entry.place}: `{entry.name}` returned {value!r} for {source}: it must be a finite number or None."
        )
    return None if value is None else float(value)
