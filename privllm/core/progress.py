"""One progress bar for everything that makes people wait, on stderr; a plain line now and then where that is no terminal (CI's logs)."""

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
    def __call__(self, amount: float = 1) -> None: ...


class Lines:
    """When a plain line is due: `first` seconds after the beginning, then every `NEXT_LINE`."""

    def __init__(self, first: float = FIRST_LINE, clock: Clock = time.monotonic) -> None:
        self.clock, self.begun = clock, clock()
        self.next = self.begun + first

    def due(self) -> bool:
        """Whether to write one now; the next is then due later."""
        now = self.clock()
        if now < self.next:
            return False
        self.next = now + NEXT_LINE
        return True

    def left(self, done: float, total: float) -> str:
        """How long the rest will take if it goes on like this."""
        seconds = round((self.clock() - self.begun) * (total - done) / done) if done else 0
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"


@contextmanager
def bar(label: str, total: float, clock: Clock = time.monotonic) -> Iterator[Advance]:
    """`with bar("clean", total=len(jobs)) as advance: ... advance()`."""
    if not sys.stderr.isatty():
        yield _plain(label, total, Lines(clock=clock))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>10}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda amount=1: progress.advance(task, amount)


def _plain(label: str, total: float, lines: Lines) -> Advance:
    done = 0.0

    def advance(amount: float = 1) -> None:
        nonlocal done
        done += amount
        if lines.due():
            say(f"{label}: {done / total:.0%}, {lines.left(done, total)}", err=True)
            sys.stderr.flush()

    return advance
