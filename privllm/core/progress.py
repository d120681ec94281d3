"""Progress bar on stderr for everything that makes people wait.

Where stderr is no terminal (logs of CI), a line is printed now and then instead.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from privllm.core.printable import say

Clock = Callable[[], float]
FIRST_LINE = 5.0  # seconds; what takes less says nothing
NEXT_LINE = 30.0


class Advance(Protocol):
    """The function that moves a bar on."""

    def __call__(self, amount: float = 1) -> None: ...


class Lines:
    """Clock of plain lines: the first is due after `first` seconds, the others every `NEXT_LINE`."""

    def __init__(self, first: float = FIRST_LINE, clock: Clock = time.monotonic) -> None:
        self.clock, self.begun = clock, clock()
        self.next = self.begun + first

    def due(self) -> bool:
        """Return whether to write a line now; the next is then due later."""
        now = self.clock()
        if now < self.next:
            return False
        self.next = now + NEXT_LINE
        return True

    def left(self, done: float, total: float) -> str:
        """Return how long the rest will take at the speed so far: "0:01:30 left"."""
        elapsed = self.clock() - self.begun
        seconds_left = round(elapsed * (total - done) / done) if done else 0
        minutes, seconds = divmod(seconds_left, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02} left"


@contextmanager
def bar(label: str, total: float, clock: Clock = time.monotonic) -> Iterator[Advance]:
    """Show a progress bar: `with bar("clean", total=len(jobs)) as advance: ... advance()`."""
    if not sys.stderr.isatty():
        yield _plain_lines(label, total, Lines(clock=clock))
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda amount=1: progress.advance(task, amount)


def _plain_lines(label: str, total: float, lines: Lines) -> Advance:
    done = 0.0

    def advance(amount: float = 1) -> None:
        nonlocal done
        done += amount
        if lines.due():
            say(f"{label}: {done / total:.0%}, {lines.left(done, total)}", err=True)
            sys.stderr.flush()

    return advance
