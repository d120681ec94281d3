"""A comparison of two revisions for eyes: one table, file by file."""

from rich.table import Table
from rich.text import Text

from privllm.core.printable import printable
from privllm.manage.compare import BETTER, WORSE, Comparison, Row

STYLES = {BETTER: "green", WORSE: "red"}


def table(found: Comparison, everything: bool) -> Table:
    """What differs, or everything."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("metric", overflow="fold")
    for title in (_text(str(found.a)), _text(str(found.b)), "difference", "95 % interval"):
        made.add_column(title, justify="right", no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    file = ""
    for row in found.shown(everything):
        if row.file != file:
            file = row.file
            made.add_row(_text(file, "bold"))
        figures = number(row.a), number(row.b), number(row.difference, "+"), interval(row)
        made.add_row(_text(f"  {row.metric}"), *figures, _text(row.verdict, STYLES.get(row.verdict, "")))
    return made


def _text(words: str, style: str = "") -> Text:
    """Names are folders' and branches': no markup, and no character that a terminal would obey."""
    return Text(printable(words), style)


def interval(row: Row) -> str:
    return f"{number(row.interval[0], '+')} to {number(row.interval[1], '+')}" if row.interval else ""


def number(value: float | None, sign: str = "") -> str:
    """As many digits as reports have, without zeros at the end; "" for nothing."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:{sign},}"
    if value and abs(value) < 1e-5:
        return f"{value:{sign}.3g}"
    return f"{value:{sign},.6f}".rstrip("0").rstrip(".")
