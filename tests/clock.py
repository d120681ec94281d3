"""Clocks for tests of what remembers files by their times: nobody sleeps, and a slow machine changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


def set_clock(monkeypatch: pytest.MonkeyPatch, module: object, now: Callable[[], int]) -> None:
    """From here on `module` reads its time (nanoseconds) off `now`."""
    monkeypatch.setattr(module, "time_ns", now)


def newest(*paths: Path) -> int:
    """The latest time (ns) that the file system gives any of these files."""
    return max(max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in paths)


def pass_tick(folder: Path) -> None:
    """Return once what is written in `folder` gets a later time than what was written before.

    The kernel's clock for files stands still for up to 10 ms; a write within that time can leave size and times as they were.
    """
    probe = folder / ".probe"
    probe.touch()
    before = newest(probe)
    while newest(probe) == before:
        os.utime(probe)
    probe.unlink()
