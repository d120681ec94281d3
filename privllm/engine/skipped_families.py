"""What is not built since `families` does not name its family: a folder with a note in place of a result.

DVC fails on a dependency that is not there, and a task's start, data/pretrain/<family>, is one whether or not that family is built.
So `start` leaves a note for such a family, `pretrain` hands it on at once, and tasks that begin there hand it on too.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privllm.core.families import TRAITS
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.engine.store import work

NOTE = "skipped.json"
BUILT_HERE = re.compile(r"data/pretrain/([^/]+)/?")


def leave_note(reason: str, *folders: Path) -> dict[str, Any]:
    """Make folders that hold the note and nothing else; returns the report."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / NOTE, {"skipped": reason})
    return {"skipped": reason}


def skip(what: str, reason: str, *folders: Path) -> dict[str, Any]:
    """`leave_note`, and say so; the log shall not take this for how long `what` takes."""
    say(f"note: {what} is skipped: {reason}", err=True)
    work["skipped"] = 1
    return leave_note(reason, *folders)


def reason_in(folder: Path) -> str:
    """Why nothing was made there; "" where something was."""
    note = folder / NOTE
    return str(json.loads(note.read_text("utf-8"))["skipped"]) if note.is_file() else ""


def not_built(family: str) -> str:
    return f"`families` in params.yaml does not name {family}, so it is not built."


def skipped_stages(params: Mapping[str, Any]) -> dict[str, str]:
    """{stage: its family that is not built}: of each such family its pretraining, and the tasks that would begin with it."""
    families = params.get("families")
    if not isinstance(families, list):
        return {}
    absent = [family for family in TRAITS if family not in families]
    skipped = {f"pretrain@{family}": family for family in absent}
    for name, task in (params.get("finetune", {}).get("tasks") or {}).items():
        start = BUILT_HERE.fullmatch(task["start"])
        if start and start[1] in absent:
            skipped[f"finetune@{name}"] = start[1]
    return skipped


def notes_of(skipped: Mapping[str, str]) -> list[str]:
    """What `privllm plan` says of `skipped_stages`."""
    tasks = [stage for stage in skipped if stage.startswith("finetune@")]
    families = sorted({skipped[stage] for stage in tasks})
    return [f"{', '.join(tasks)}: skipped with a note, since `families` does not name {' and '.join(families)}."] if tasks else []
