"""One progress bar for everything that makes people wait. It writes to the terminal's stderr, or nothing at all."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    def __call__(self, amount: float = 1) -> None: ...


@contextmanager
def bar(label: str, total: float) -> Iterator[Advance]:
    """`with bar("clean", total=len(jobs)) as advance: ... advance()`."""
    if not sys.stderr.isatty():
        yield lambda amount=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>10}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda amount=1: progress.advance(task, amount)
