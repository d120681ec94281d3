"""All of params.yaml is looked at before anything is built, not only the section of the stage that starts first.

A stage reads its own section when it starts; a misspelt key of the last stage would be found after hours of training. The pairs of
sections and dataclasses stand in `cli.param_sections`, above everything. It is run as a process of its own and never imported: what
a stage imports is part of its key, and an edit of the gate's code must not collect again. So that it costs nothing where nothing
changed, what was found sound is remembered, and it runs again only after an edit of params.yaml, of dvc.yaml or of that code.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE
from privllm.core.seed import digest
from privllm.core.work_paths import PARAMS_CHECK_FILE
from privllm.engine.digests import replacing
from privllm.engine.import_guard import guarded_command
from privllm.engine.pipeline import PIPELINE

CHECKER = "privllm.cli.param_sections"


def require_sound_params(root: Path = Path(), remember: bool = True) -> None:
    """Raise UserError where a value of params.yaml is one that a stage, whichever, would refuse. It writes only to `remember`.

    Does nothing in a folder that holds less than a build: there a stage is run by hand, with its own section.
    """
    files = [root / PIPELINE, root / PARAMS_FILE]
    checker = root.joinpath(*CHECKER.split(".")).with_suffix(".py")
    if not all(path.is_file() for path in (*files, checker)):
        return
    key = digest(b"\0".join(path.read_bytes() for path in files))
    if _found_sound(root, key):
        return
    done = subprocess.run(guarded_command(CHECKER), cwd=root, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr.strip() or "it does not say why").splitlines()[-1]
        raise UserError(f"{PARAMS_FILE} could not be checked, since the code that reads it cannot be run (`python -m {CHECKER}`): {why}.")
    found = json.loads(done.stdout.splitlines()[-1])
    if faults := found["faults"]:
        raise UserError(faults[0] if len(faults) == 1 else "\n".join([f"{PARAMS_FILE} has {len(faults)} faults.", *faults]))
    if remember:
        with replacing(root / PARAMS_CHECK_FILE) as partial:
            partial.write_text(json.dumps({"key": key, "code": {path: _state(root / path) for path in found["code"]}}), "utf-8")


def _found_sound(root: Path, key: str) -> bool:
    """Was just this found sound, by code that is still the same?"""
    try:
        known: dict[str, Any] = json.loads((root / PARAMS_CHECK_FILE).read_text("utf-8"))
        return known["key"] == key and all(_state(root / path) == state for path, state in known["code"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
