"""Environments of their own for programs that talk to a server, or to a model, and that we do not install."""

import site
import subprocess
import sys
from pathlib import Path

import pytest


def environment(folder: Path, *packages: str, ours: bool = False) -> Path:
    """Return the Python of a new environment with these packages; the test is skipped where they cannot be had.

    ours: it also sees what this environment has, which is not installed a second time.
    """
    python = folder / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if ours:
        (packages_of(python) / "ours.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    installed = subprocess.run([python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"{' and '.join(packages)} cannot be installed here: {installed.stderr[-500:]}")
    return python


def packages_of(python: Path) -> Path:
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip())
