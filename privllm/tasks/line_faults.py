"""Faults of single rows of a dataset: what is wrong, a short reason to count it by, and the sentence that names file and line."""

from pathlib import Path
from typing import Any

from privllm.core.errors import UserError

SHORT = 60  # characters of what a person wrote that a message repeats


class InvalidLine(Exception):
    """A row that holds no example; the message says why, `reason` is the word by which such rows are counted."""

    def __init__(self, fault: str, reason: str) -> None:
        super().__init__(fault)
        self.reason = reason


def error_at(path: Path | str, number: int, fault: str, unit: str = "line") -> UserError:
    """Return the error for a line (or row) of a file."""
    return UserError(f"{path}, {unit} {number}: {fault}. Fix that {unit}, or take it out.")


def text_of(value: Any, name: str) -> str:
    """Return the value, a text with something in it. Raises InvalidLine."""
    if not isinstance(value, str):
        raise InvalidLine(f"{name} must be a string with something in it", "wrong_type")
    if not value.strip():
        raise InvalidLine(f"{name} must be a string with something in it", "empty")
    if "\0" in value:
        raise InvalidLine(f"{name} holds a NUL character, which no text has", "nul")
    return value


def short(text: str) -> str:
    """Return the text, or its beginning where it is long."""
    return text if len(text) <= SHORT else text[: SHORT - 3] + "..."


def quoted(names: list[str]) -> str:
    """Return the names in quotes, each shortened."""
    return ", ".join(f'"{short(name)}"' for name in names)
