"""Pins of requirements.lock with their hashes, as pip reads them, and those that hold on one machine."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.markers import InvalidMarker, Marker

from privllm.core.errors import UserError
from privllm.engine.fingerprint import canonical
from privllm.project.platforms import Target

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.!+_-]+)\s*(?:;(?P<marker>.*))?")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
WITHOUT_HASH = "torch"  # its builds differ by machine: CPU, or CUDA


class Pin(NamedTuple):
    """One distribution at one version."""

    name: str  # as PEP 503 spells it
    version: str
    marker: str  # "" where it holds on every machine
    sha256: frozenset[str]  # of its wheels and its source, any of which may be installed

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    def line(self) -> str:
        """Return the line of a requirements file that pip takes with --require-hashes."""
        return " ".join([str(self), *(f"--hash=sha256:{digest}" for digest in sorted(self.sha256))])


def read_pins(lock: Path) -> list[Pin]:
    """Return every pin of a lock, in its order.

    Raises UserError where the file is missing, has a line that is no exact pin, or a pin without hashes (torch has none).
    """
    try:
        text = lock.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{lock} is missing: it pins what is to be installed. `git checkout {lock}` brings it back."
        ) from None
    pins = []
    for number, line in _joined_lines(text):
        match = PIN.fullmatch(line.partition("--hash")[0].strip())
        if match is None:
            raise UserError(f"{lock}:{number} is no exact pin (`name==version`): {line[:80]}")
        name, marker = canonical(match["name"]), (match["marker"] or "").strip()
        digests = frozenset(HASH.findall(line))
        if not digests and name != WITHOUT_HASH:
            raise UserError(f"{lock}:{number}: {name} has no --hash=sha256:, so nothing says what may be installed.")
        _require_marker(marker, f"{lock}:{number}")
        pins.append(Pin(name, match["version"], marker, digests))
    return pins


def pins_for(pins: list[Pin], target: Target) -> list[Pin]:
    """Return the pins whose markers hold on a machine."""
    environment = dict(target.markers())
    return [pin for pin in pins if not pin.marker or Marker(pin.marker).evaluate(environment)]


def _joined_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each logical line: comments are left out, a backslash continues it."""
    start = 0
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        start = start if parts else number
        parts.append(line.removesuffix("\\").strip())
        if line.endswith("\\"):
            continue
        if any(parts):
            yield start, " ".join(parts)
        parts = []


def _require_marker(marker: str, place: str) -> None:
    try:
        _ = marker and Marker(marker)
    except InvalidMarker as error:
        raise UserError(f"{place} has a marker that cannot be read: {marker}") from error
