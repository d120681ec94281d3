"""`privllm feedback export`: ratings and votes out of SQLite, appended to data/feedback/*.jsonl, each exactly once.

    data/feedback/ratings.jsonl, votes.jsonl      fields: `feedback.records`

A row is marked as exported only after the file with it is on the disk; killed in between, the next export finds the row in the file
and only marks it. The file is replaced, never written into: it may be a link into DVC's cache. It adds nothing to DVC by itself.
"""

import json
import os
from pathlib import Path

from privllm.core.errors import UserError
from privllm.engine.digests import sync
from privllm.serve.database import People

FOLDER = Path("data/feedback")
FILES = {"rating": "ratings.jsonl", "vote": "votes.jsonl"}


def export_feedback(people: People, folder: Path = FOLDER) -> dict[str, int]:
    """Append what is new; returns {file name: lines appended}. Raises UserError where a file holds something else."""
    appended = {}
    with people.writing() as db:  # no vote comes in, and no other export runs, until this one is done
        for kind, name in FILES.items():
            query = "SELECT id, edition, record FROM records WHERE kind = ? AND NOT exported ORDER BY rowid"
            rows = db.execute(query, (kind,)).fetchall()
            known = _known(folder / name) if rows else set()
            lines = [record for identifier, edition, record in rows if (identifier, edition) not in known]
            if lines:
                append(folder / name, lines)
            appended[name] = len(lines)
            db.executemany("UPDATE records SET exported = 1 WHERE kind = ? AND id = ?", [(kind, row[0]) for row in rows])
    return appended


def append(path: Path, lines: list[str]) -> None:
    """The file with `lines` after what it held, in its place and on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent.parent / f".{path.name}.{os.getpid()}"  # beside the folder: DVC tracks all that lies within
    with partial.open("wb") as file:
        if path.is_file():
            held = path.read_bytes()
            file.write(held if held.endswith(b"\n") or not held else held + b"\n")
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    for folder in (path.parent, path.parent.parent):
        sync(folder)


def _known(path: Path) -> set[tuple[str, int]]:
    """(id, edition) of every line."""
    if not path.is_file():
        return set()
    known = set()
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
            known.add((record["id"], record.get("edition", 1)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}, line {number} is no record of feedback ({error}): mend or delete the line, then export.") from error
    return known
