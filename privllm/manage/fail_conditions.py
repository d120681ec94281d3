"""What a comparison may not show: `bits_per_byte > 0.01` speaks of the difference, B less A.

An expression is read, not run. A metric that is not there, or that cannot be judged, is an error: a gate that nobody watches must
not stay open.
"""

import difflib
import operator
import re
from collections.abc import Callable
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


class Condition(NamedTuple):
    """`metric` `sign` `limit`, of the difference B - A."""

    metric: str  # bits_per_byte, of every file that has it, or evaluate/causal:bits_per_byte
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.limit:g}"


def parse(expression: str) -> Condition:
    """Raises UserError for anything but METRIC OP NUMBER."""
    found = EXPRESSION.fullmatch(expression)
    if not found:
        signs = " ".join(OPERATORS)
        raise UserError(f"`--fail-if {expression!r}` is no METRIC OP NUMBER, such as 'bits_per_byte > 0.01'; OP is one of {signs}.")
    return Condition(found[1], found[2], float(found[3]))


def broken(found: Comparison, conditions: list[Condition], not_worse: list[str]) -> list[str]:
    """A line for each row that breaks a condition, or is shown to be worse. Raises UserError where that cannot be told."""
    lines = []
    for condition in conditions:
        for row in _rows(found, condition.metric):
            if row.difference is None:
                there = found.b if row.a is None else found.a
                raise UserError(f"{row.name} is only in {there}: qualify the metric by a file that both revisions have.")
            if OPERATORS[condition.sign](row.difference, condition.limit):
                lines.append(f"{condition}: {row.name} went from {number(row.a)} to {number(row.b)} ({number(row.difference, '+')})")
    for metric in not_worse:
        for row in _rows(found, metric):
            judged = next((one for one in found.rows if one.file == row.file and one.metric == COMMON + row.metric), row)
            if not judged.interval:
                why = judged.verdict.strip() or "only loss, perplexity, bits_per_byte and accuracy of the stage evaluate have one"
                raise UserError(f"{row.name} has no interval ({why}), so --fail-if-worse cannot judge it. {' '.join(found.notes)}")
            if judged.verdict == WORSE:
                lines.append(f"{row.name} is worse: {number(judged.difference, '+')}, 95 % interval {interval(judged)}")
    return lines


def _rows(found: Comparison, metric: str) -> list[Row]:
    rows = [row for row in found.rows if metric in (row.metric, row.name)]
    if not rows:
        near = difflib.get_close_matches(metric, [name for row in found.rows for name in (row.metric, row.name)], n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`? `--all` shows what there is." if near else "`--all` shows what there is."
        why = " ".join(found.notes) if metric.rpartition(":")[2].startswith(COMMON) else ""
        raise UserError(f"neither {found.a} nor {found.b} has a metric `{metric}`; {hint} {why}".rstrip())
    return rows
