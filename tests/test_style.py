"""ruff and mypy are clean."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MYPY = pytest.param(["mypy"], marks=[pytest.mark.torch, pytest.mark.slow])  # it reads torch's types
CHECKS = [["ruff", "check", "."], ["ruff", "format", "--check", "."], MYPY]


@pytest.mark.parametrize("arguments", CHECKS, ids=" ".join)
def test_clean(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
