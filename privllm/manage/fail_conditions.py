"""Conditions under which a comparison fails: `bits_per_byte > 0.01` limits the difference, B less A.

An expression is parsed, never evaluated as code. A metric that does not exist, or that cannot be judged,
is an error: a gate that checks nothing must not pass.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from privllm.core.errors import UserError
from privllm.manage.compare import COMMON, WORSE, Comparison, Row
from privllm.manage.compare_table import interval, number

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
EXPRESSION = re.compile(rf"\s*([^<>=!]*[^<>=!\s])\s*({'|'.join(OPERATORS)})\s*({NUMBER})\s*", re.ASCII)
NO_INTERVAL = "only loss, perplexity, accuracy and bits per byte of the validation split have one, in reports of the stage evaluate"


class Condition(NamedTuple):
    """`metric` `sign` `limit`, of the difference B - A."""

    metric: str  # bits_per_byte, of every file that has it, or evaluate/causal:bits_per_byte
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.limit:g}"


def parse(expression: str) -> Condition:
    """Parse METRIC OP NUMBER. Raises UserError for anything else."""
    match = EXPRESSION.fullmatch(expression)
    if not match:
        signs = " ".join(OPERATORS)
        example = "'bits_per_byte > 0.01'"
        raise UserError(f"`--fail-if {expression!r}` is not METRIC OP NUMBER, such as {example}; OP is one of {signs}.")
    return Condition(match[1], match[2], float(match[3]))


def broken(comparison: Comparison, conditions: list[Condition], not_worse: list[str]) -> list[str]:
    """Return a line for each row that breaks a condition, or that its interval shows to be worse.

    Raises UserError where this cannot be decided.
    """
    lines: list[str] = []
    for condition in conditions:
        lines += _broken_limits(comparison, condition)
    for metric in not_worse:
        lines += _worse(comparison, metric)
    return lines


def _broken_limits(comparison: Comparison, condition: Condition) -> Iterator[str]:
    for row in _rows_of(comparison, condition.metric):
        if row.difference is None:
            revision = comparison.b if row.a is None else comparison.a
            raise UserError(f"{row.name} is only in {revision}: qualify the metric by a file that both revisions have.")
        if OPERATORS[condition.sign](row.difference, condition.limit):
            change = f"from {number(row.a)} to {number(row.b)} ({number(row.difference, '+')})"
            yield f"{condition}: {row.name} went {change}"


def _worse(comparison: Comparison, metric: str) -> Iterator[str]:
    for row in _rows_of(comparison, metric):
        judged_row = _on_common_documents(comparison, row)
        if not judged_row.interval:
            reason = judged_row.verdict.strip() or NO_INTERVAL
            notes = " ".join(comparison.notes)
            raise UserError(f"{row.name} has no interval ({reason}), so --fail-if-worse cannot judge it. {notes}")
        if judged_row.verdict == WORSE:
            difference = number(judged_row.difference, "+")
            yield f"{row.name} is worse: {difference}, 95 % interval {interval(judged_row)}"


def _on_common_documents(comparison: Comparison, row: Row) -> Row:
    """Return the row of the same metric on the documents in common, or the row itself where there is none."""
    for candidate in comparison.rows:
        if candidate.file == row.file and candidate.metric == COMMON + row.metric:
            return candidate
    return row


def _rows_of(comparison: Comparison, metric: str) -> list[Row]:
    """Return the rows of a metric. Raises UserError, with a similar name, where there are none."""
    rows = [row for row in comparison.rows if metric in (row.metric, row.name)]
    if rows:
        return rows
    names: list[str] = []
    for row in comparison.rows:
        names += [row.metric, row.name]
    near = difflib.get_close_matches(metric, names, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`? " if near else ""
    hint += "`--all` lists all metrics."
    if metric.rpartition(":")[2].startswith(COMMON):
        hint = f"{hint} {' '.join(comparison.notes)}".rstrip()
    raise UserError(f"neither {comparison.a} nor {comparison.b} has a metric `{metric}`; {hint}")
