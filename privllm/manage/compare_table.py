"""Terminal table of a comparison of two revisions, file by file."""

from rich.table import Table
from rich.text import Text

from privllm.core.printable import printable
from privllm.manage.compare import BETTER, WORSE, Comparison, Row

STYLES = {BETTER: "green", WORSE: "red"}


def table(comparison: Comparison, everything: bool) -> Table:
    """Return a table of the metrics that differ, or of all."""
    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    result.add_column("metric", overflow="fold")
    for title in (_text(str(comparison.a)), _text(str(comparison.b)), "difference", "95 % interval"):
        result.add_column(title, justify="right", no_wrap=True)
    result.add_column("verdict", no_wrap=True)
    file = ""
    for row in comparison.visible_rows(everything):
        if row.file != file:
            file = row.file
            result.add_row(_text(file, "bold"))
        result.add_row(
            _text(f"  {row.metric}"),
            number(row.a),
            number(row.b),
            number(row.difference, "+"),
            interval(row),
            _text(row.verdict, STYLES.get(row.verdict, "")),
        )
    return result


def _text(words: str, style: str = "") -> Text:
    """Return text without markup and control characters: anybody can name a folder or a branch."""
    return Text(printable(words), style)


def interval(row: Row) -> str:
    """Return "-0.010 to +0.002", or "" without an interval."""
    if row.interval is None:
        return ""
    low, high = row.interval
    return f"{number(low, '+')} to {number(high, '+')}"


def number(value: float | None, sign: str = "") -> str:
    """Return a number with as many digits as reports have, without zeros at the end; "" for none."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:{sign},}"
    if value and abs(value) < 1e-5:
        return f"{value:{sign}.3g}"
    return f"{value:{sign},.6f}".rstrip("0").rstrip(".")
