"""Strings within a JSON value, however deep they lie: a value from outside may be nested deeper than the stack."""

from collections.abc import Iterator
from typing import Any


def strings_in(value: Any, with_keys: bool = False) -> Iterator[str]:
    """Yield every string of a JSON value; with its objects' keys only if asked."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            if with_keys:
                waiting += part
