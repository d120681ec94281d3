"""Inputs that commands write and DVC tracks: what a build leaves to the next, in data/promoted and data/vocabulary."""

import subprocess
import sys
from pathlib import Path

from privllm.core.errors import UserError


def track(root: Path, path: Path) -> None:
    """Give what lies at `path`, relative to the root, to DVC, and the note of it to git."""
    run(root, sys.executable, "-P", "-m", "dvc", "add", "--quiet", str(path))
    run(root, "git", "add", "--", str(path.parent))


def run(root: Path, *command: str) -> str:
    """Return what a command prints. Raises UserError, with what it says, where it fails."""
    process = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if process.returncode:
        error = " ".join(process.stderr.split()) or process.stdout.strip()
        raise UserError(f"`{' '.join(command)}` failed: {error}")
    return process.stdout
