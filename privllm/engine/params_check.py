"""Check of all of params.yaml before anything is built.

It is not limited to the section of the stage that starts first.

A stage reads its own section when it starts; a misspelt key of the last stage would be found after
hours of training. The pairs of sections and dataclasses stand in `parameters.sections`, above
everything. That module is run as a process and never imported: what a stage imports is part of its
key, and an edit of the gate's code must not rebuild `collect`. The check runs only after an edit of
params.yaml, of dvc.yaml or of that code; otherwise the note of the last check is enough.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from privllm.core.errors import SeveralFaults, UserError
from privllm.core.params import PARAMS_FILE
from privllm.core.seed import digest
from privllm.core.work_paths import PARAMS_CHECK_FILE
from privllm.engine.digests import replacing
from privllm.engine.import_guard import file_of, guarded_command
from privllm.engine.pipeline import PIPELINE

CHECKER = "privllm.parameters.check"


def require_sound_params(root: Path = Path(), remember: bool = True) -> None:
    """Raise UserError where any stage would refuse a value of params.yaml.

    Writes only a note, and only to `remember`.

    Does nothing in a folder that holds less than a build: there a stage is run by hand, with its
    own section.
    """
    files = [root / PIPELINE, root / PARAMS_FILE]
    if not all(path.is_file() for path in files) or file_of(root, CHECKER) is None:
        return
    key = digest(b"\0".join(path.read_bytes() for path in files))
    if _was_checked(root, key):
        return
    outcome = _run_checker(root)
    faults = outcome["faults"]
    if len(faults) == 1:
        raise UserError(faults[0])
    if faults:
        raise SeveralFaults(f"{PARAMS_FILE} has {len(faults)} faults:", [f"  {fault}" for fault in faults])
    if remember:
        states = {path: _state(root / path) for path in outcome["code"]}
        with replacing(root / PARAMS_CHECK_FILE) as partial:
            partial.write_text(json.dumps({"key": key, "code": states}), "utf-8")


def _run_checker(root: Path) -> dict[str, Any]:
    """Return the "faults" in params.yaml, and as "code" the files that were read to find them."""
    process = subprocess.run(guarded_command(CHECKER), cwd=root, capture_output=True, text=True)
    if process.returncode or not process.stdout.strip():
        reason = (process.stderr.strip() or "it does not say why").splitlines()[-1]
        raise UserError(
            f"{PARAMS_FILE} could not be checked, since the code that reads it cannot be run (`python -m {CHECKER}`): {reason}."
        )
    return json.loads(process.stdout.splitlines()[-1])


def _was_checked(root: Path, key: str) -> bool:
    """Return whether the files with the digest `key` passed the last check, by the same code."""
    try:
        note: dict[str, Any] = json.loads((root / PARAMS_CHECK_FILE).read_text("utf-8"))
        if note["key"] != key:
            return False
        return all(_state(root / path) == state for path, state in note["code"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _state(path: Path) -> list[int]:
    """Return bytes, modified ns and inode of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
