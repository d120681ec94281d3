r"""Text made safe to print: control characters become escapes, so no terminal obeys them.

Anybody may have chosen the names of files, folders, branches and models, and so it is with what a
model writes. A terminal obeys some characters (ESC moves its cursor, BEL rings, U+2028 and newlines
forge lines, bidirectional marks reverse words), and XML allows none of the control characters. Each
such character becomes its escape, as in a string of Python: "a\x1b[2J". Backslashes stay, so text
that was printable is unchanged.
"""

import json
import sys
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from io import TextIOWrapper
from typing import Any

WORDS = "\n\t\u200c\u200d"  # in a text beside letters: newlines, tabs, and the joiners that some scripts need


def printable(text: str, keep: str = "") -> str:
    """Return `text` with an escape for every character that is not shown, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(letter if letter in keep else _escaped(letter) for letter in text)


@lru_cache(1024)
def _escaped(letter: str) -> str:
    """Return the letter itself if it is harmless, else its escape.

    Half a character (a surrogate) has one too.
    """
    return letter if _is_harmless(letter) else letter.encode("unicode_escape").decode("ascii")


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # spaces of any width, as in Japanese names


def without_controls(text: str) -> str:
    """Return `text` without control characters except tab and newline, for other programs.

    A model may have learnt to write characters that move the cursor.
    """
    return "".join(letter for letter in text if not _is_control(letter))


def _is_control(letter: str) -> bool:
    is_c0 = letter < " " and letter not in "\n\t"
    is_delete_or_c1 = "\x7f" <= letter <= "\x9f"
    return is_c0 or is_delete_or_c1


def printable_json(value: Any, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    r"""Return `value` as JSON: letters of all scripts as they are, control characters as \uXXXX."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    if text.isprintable():
        return text
    letters = []
    for letter in text:
        is_shown = letter == "\n" or _is_harmless(letter)
        letters.append(letter if is_shown else json.dumps(letter)[1:-1])
    return "".join(letters)


def say(line: str = "", err: bool = False) -> None:
    """Print one line for a person, on stdout or stderr."""
    print(printable(line), file=sys.stderr if err else sys.stdout, flush=True)


def say_json(value: Any, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> None:
    """Print `value` as JSON, for programs and people."""
    print(printable_json(value, indent, default), flush=True)


def never_fail_to_print() -> None:
    """Make stdout and stderr write escapes for letters that their encoding lacks.

    Greek letters, for example, are no error on a terminal with Latin-1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
