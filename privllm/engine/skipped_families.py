"""Notes in place of results, for families that are not built and what depends on them.

DVC fails where a dependency is missing, and data/pretrain/<family>, with which a task begins, is
one whether or not that family is built. So `start` leaves a note for such a family, `pretrain`
copies it at once, and so do tasks that begin with it.
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
from privllm.engine.store import work_counts

NOTE = "skipped.json"
BUILT_HERE = re.compile(r"data/pretrain/([^/]+)/?")


def leave_note(reason: str, *folders: Path) -> dict[str, Any]:
    """Write the note into folders that then hold nothing else; return the report."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / NOTE, {"skipped": reason})
    return {"skipped": reason}


def skip(section: str, reason: str, *folders: Path) -> dict[str, Any]:
    """Leave a note in `folders`, print it, and return it as the report of `section`."""
    say(f"note: {section} is skipped: {reason}", err=True)
    work_counts["skipped"] = 1  # so that the log does not count this as a run
    return leave_note(reason, *folders)


def reason_in(folder: Path) -> str:
    """Return why nothing was made in `folder`, "" where it holds a result."""
    note = folder / NOTE
    if not note.is_file():
        return ""
    return str(json.loads(note.read_text("utf-8"))["skipped"])


def not_built(family: str) -> str:
    """Return the reason for which a family is skipped."""
    return f"`families` in params.yaml does not name {family}, so it is not built."


def skipped_stages(params: Mapping[str, Any]) -> dict[str, str]:
    """Return {stage: family that is not built}, its pretraining and the tasks that begin with it."""
    families = params.get("families")
    if not isinstance(families, list):
        return {}
    skipped_families = [family for family in TRAITS if family not in families]
    skipped = {f"pretrain@{family}": family for family in skipped_families}
    for name, task in (params.get("finetune", {}).get("tasks") or {}).items():
        start = BUILT_HERE.fullmatch(task["start"])
        if start and start[1] in skipped_families:
            skipped[f"finetune@{name}"] = start[1]
    return skipped


def notes_of(skipped: Mapping[str, str]) -> list[str]:
    """Return what `privllm plan` prints of `skipped_stages`, at most one sentence."""
    tasks = [stage for stage in skipped if stage.startswith("finetune@")]
    if not tasks:
        return []
    families = sorted({skipped[stage] for stage in tasks})
    return [f"{', '.join(tasks)}: skipped with a note, since `families` does not name {' and '.join(families)}."]
