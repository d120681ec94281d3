"""Runs of pip: downloads that are checked by hash, and wheels built from source. pip's own settings choose the index.

Nothing is installed here. What pip says in pages is said in one sentence.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from privllm.core.errors import UserError

NO_WHEEL = re.compile(r"No matching distribution found for ([^\s;]+)")
EXCLUDED = re.compile(r"Cannot install (\S+) because these package versions have conflicting dependencies")
WRONG_HASH = re.compile(r"^\s+(\S+==\S+)[^\n]*:\n\s+Expected sha256", re.MULTILINE)
FIXED_TIME = "315532800"  # 1980, the first that a wheel can say: the same bytes whenever it is built


def require_pip() -> None:
    """Raise UserError where this Python has no pip."""
    if find_spec("pip") is None:
        raise UserError(
            f"{sys.executable} has no pip, which downloads the wheels: `{sys.executable} -m ensurepip` adds it."
        )


def download(requirements: Sequence[str], folder: Path, machine: str, options: Sequence[str] = ()) -> None:
    """Download requirements, without what they need in turn, into `folder`.

    Raises UserError that names the requirement that does not exist for `machine` or has another hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "requirements.txt"
    listed.write_text("".join(f"{line}\n" for line in requirements), "utf-8")
    try:
        _run("download", ["--no-deps", *options, "--dest", str(folder), "--requirement", str(listed)], machine)
    finally:
        listed.unlink()


def build(source: Path, folder: Path, options: Sequence[str] = ()) -> Path:
    """Build the wheel of a source archive or folder into `folder`, which is empty, and return it."""
    _run("wheel", ["--no-deps", *options, "--wheel-dir", str(folder), str(source)], "this machine")
    (wheel,) = folder.glob("*.whl")
    return wheel


def _run(verb: str, options: Sequence[str], machine: str) -> None:
    command = [sys.executable, "-m", "pip", verb, "--disable-pip-version-check", "--progress-bar", "off", *options]
    environment = os.environ | {"SOURCE_DATE_EPOCH": FIXED_TIME}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise UserError(explanation(verb, done.stdout + done.stderr, machine))


def explanation(verb: str, output: str, machine: str) -> str:
    """Return one sentence for what pip printed when it failed."""
    if missing := NO_WHEEL.search(output):
        return (
            f"pip finds no {missing[1]} for {machine}. Its wheels may lie in an index that pip does not ask: "
            "name it in PIP_EXTRA_INDEX_URL or pip.conf. Or they may need a newer system than this one."
        )
    if wrong := WRONG_HASH.search(output):
        return f"{wrong[1]} as the index has it has none of the hashes of requirements.lock: do not use that index."
    if excluded := EXCLUDED.search(output):
        return (
            f"pip finds no {excluded[1]} for {machine} that its own settings allow: no index that it asks has one, "
            "or a constraint (PIP_CONSTRAINT, pip.conf) excludes it."
        )
    if "No space left on device" in output:
        return "the disk is full. Make room, and run the same command again: what was downloaded is kept."
    lines = [line for line in output.splitlines() if "error" in line.lower()] or output.splitlines() or ["no reason"]
    return f"`pip {verb}` failed: {lines[-1].strip()}. Run the same command again: what was downloaded is kept."
