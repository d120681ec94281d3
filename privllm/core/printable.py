r"""Text on its way to a terminal, or to another eye: nothing in it is obeyed, everything is shown.

Names of files, folders, branches and models are anybody's words, and so is what a model writes. A terminal obeys some characters (ESC moves
its cursor, BEL rings, U+2028 and newlines forge lines, bidirectional marks turn words round), and a chart's renderer dies of them. Each
such character becomes its escape, as in a string of Python: "a\x1b[2J". Backslashes stay, so text that was printable is the same.
"""

import json
import sys
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from io import TextIOWrapper
from typing import Any

WORDS = "\n\t\u200c\u200d"  # what a text of words has beside letters: lines, tabs, and joiners, without which some scripts fall apart


def printable(text: str, keep: str = "") -> str:
    """`text` with an escape for every character that is not shown as it is, but for those in `keep`."""
    if text.isprintable():
        return text
    return "".join(letter if letter in keep else _shown(letter) for letter in text)


@lru_cache(1024)
def _shown(letter: str) -> str:
    return letter if _is_harmless(letter) else letter.encode("unicode_escape").decode("ascii")  # of half a character (a surrogate) too


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # spaces of any width, as in Japanese names


def without_controls(text: str) -> str:
    """`text` without control characters but tab and newline, for other programs: a model may have learnt to move the cursor."""
    return "".join(letter for letter in text if letter in "\n\t" or (letter >= " " and not "\x7f" <= letter <= "\x9f"))


def printable_json(value: Any, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    r"""`value` as JSON that a terminal shows: letters of all scripts as they are, what it would obey as \uXXXX, which means the same."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    if text.isprintable():
        return text
    return "".join(letter if letter == "\n" or _is_harmless(letter) else json.dumps(letter)[1:-1] for letter in text)


def say(line: str = "", err: bool = False) -> None:
    """Print one line for a person, on stdout or stderr."""
    print(printable(line), file=sys.stderr if err else sys.stdout, flush=True)


def say_json(value: Any, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> None:
    """Print `value` for a program, and for whoever looks at it."""
    print(printable_json(value, indent, default), flush=True)


def never_fail_to_print() -> None:
    """Make stdout and stderr write an escape for what their encoding lacks: Greek is no error on a terminal that knows Latin-1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
