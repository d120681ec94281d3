"""Ctrl-C during imports is one sentence; other errors keep their traceback."""

import subprocess
import sys


def said(statement: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import stages\n{statement}"], capture_output=True, text=True)


def test_an_interrupt_is_explained() -> None:
    done = said("raise KeyboardInterrupt")
    assert done.returncode != 0
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_errors_are_shown() -> None:
    assert "ZeroDivisionError" in said("1 / 0").stderr
