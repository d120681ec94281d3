"""One progress bar for everything that makes people wait. It writes to the terminal's stderr, or nothing at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Advance(Protocol):
    def __call__(self, amount: float = 1) -> None: ...


@contextmanager
def bar(label: str, total: float) -> Iterator[Advance]:
    """`with bar("clean", total=len(jobs)) as advance: ... advance()`."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=total)
        yield lambda amount=1: progress.advance(task, amount)
