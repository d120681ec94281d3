"""A terminal to chat in: lines that are edited as in a shell, and replies shown as Markdown while they come.

Lines typed before are found by the arrow keys, in this session alone: nothing is stored on disk.
Control characters are shown as escapes, whoever wrote them. No model is known here.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

from privllm.core.printable import WORDS, printable

FENCES = ("```", "~~~")
REFRESH_SECONDS = 0.1


def read_messages(source: TextIO, console: Console, interactive: bool) -> Iterator[str]:
    """Yield the lines that are not blank, stripped, until the input ends or Ctrl-C."""
    while True:
        try:
            line = _ask(console) if interactive else _read_line(source)
        except (EOFError, KeyboardInterrupt):
            break
        end_of_file = not line and not interactive
        if end_of_file:
            break
        if line.strip():
            yield line.strip()
    if interactive:
        console.out("")


def _read_line(source: TextIO) -> str:
    """Return the next line of a pipe or file as UTF-8, with U+FFFD for bytes that are none."""
    raw = getattr(source, "buffer", None)
    return source.readline() if raw is None else raw.readline().decode("utf-8", "replace")


def _ask(console: Console) -> str:
    if not console.is_terminal:
        return console.input("> ")
    with suppress(ImportError):  # Windows edits lines by itself
        import readline  # noqa: F401  (to import it is what makes input() edit)
    return input("> ")  # readline must know the prompt, or it would erase it


class MarkdownStream:
    """Markdown that is printed paragraph by paragraph; the one that is being written is shown as far as it has come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""  # of blocks that are not printed yet
        self._live: Live | None = None
        self._shown = 0.0

    def add(self, piece: str) -> None:
        self._text += printable(piece, WORDS)
        if end := end_of_blocks(self._text):
            self._print(self._text[:end])
            self._text = self._text[end:]
        if self._text.strip() and time.monotonic() - self._shown > REFRESH_SECONDS:
            if self._live is None:
                self._live = Live(console=self._console, transient=True, auto_refresh=False)
                self._live.start()
            self._live.update(_markdown(self._text), refresh=True)
            self._shown = time.monotonic()

    def end(self) -> None:
        """Print what is left."""
        self._print(self._text)
        self._text = ""

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.stop()  # which takes away what it showed
            self._live = None
        if text.strip():
            self._console.print(_markdown(text))


def _markdown(text: str) -> Markdown:
    return Markdown(text.strip("\n"), hyperlinks=False)  # a link is a sequence that terminals obey


def end_of_blocks(text: str) -> int:
    """Return where the last blank line outside of code ends; 0 where there is none."""
    end = position = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        position += len(line)
        mark = line.lstrip()[:3]
        if fence:
            fence = "" if mark == fence else fence
        elif mark in FENCES:
            fence = mark
        elif not line.strip() and line.endswith("\n") and position > len(line):
            end = position
    return end
