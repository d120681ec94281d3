"""Finding of `privllm doctor`: what one check saw, how bad that is, and the command that mends it."""

from collections.abc import Iterator
from enum import StrEnum
from textwrap import wrap
from typing import NamedTuple

from privllm.core.printable import printable

CHECK_WIDTH = 12  # characters of the longest name of a check
GIB = 1 << 30


class State(StrEnum):
    """How bad a finding is."""

    ok = "ok"
    warning = "warning"  # a build works, but worse, or not on this machine's best
    missing = "missing"  # a build, or a command that people need, does not work


STATE_WIDTH = max(map(len, State))


class Finding(NamedTuple):
    """What one check found."""

    check: str
    state: State
    value: str
    command: str = ""  # that mends it, or a sentence where no command does

    def lines(self, columns: int) -> Iterator[str]:
        """Yield lines for a terminal, of at most `columns` where words allow it. A command stays whole, to be copied."""
        indent = " " * (STATE_WIDTH + 2 + CHECK_WIDTH + 2)
        width = max(24, columns - len(indent))
        value_lines = wrap(printable(self.value), width, break_long_words=False, break_on_hyphens=False) or [""]
        yield f"{self.state:{STATE_WIDTH}}  {self.check:{CHECK_WIDTH}}  {value_lines[0]}".rstrip()
        for line in value_lines[1:]:
            yield f"{indent}{line}"
        if self.command:
            yield f"{indent}-> {printable(self.command)}"


def in_gb(size: float) -> str:
    """Return a number of bytes as "12.3 GB", of 1,024^3 bytes."""
    return f"{size / GIB:,.1f} GB" if size < 100 * GIB else f"{size / GIB:,.0f} GB"
