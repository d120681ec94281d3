"""Export of ratings and votes from SQLite: each is appended to data/feedback/*.jsonl exactly once.

    data/feedback/ratings.jsonl, votes.jsonl      fields: `feedback.records`

A row is marked as exported only after its line is on the disk. If the process is killed in between,
the next export finds the line in the file and only marks the row. The file is replaced, never
written in place: it may be a link into DVC's cache. Nothing is added to DVC here.
"""

import json
import os
from pathlib import Path

from privllm.core.errors import UserError
from privllm.engine.digests import sync
from privllm.serve.database import Database

FOLDER = Path("data/feedback")
FILES = {"rating": "ratings.jsonl", "vote": "votes.jsonl"}


def export_feedback(database: Database, folder: Path = FOLDER) -> dict[str, int]:
    """Append new records to the files; return {file name: lines appended}.

    Raises UserError where a file has lines that are no feedback.
    """
    query = "SELECT id, edition, record FROM records WHERE kind = ? AND NOT exported ORDER BY rowid"
    mark_exported = "UPDATE records SET exported = 1 WHERE kind = ? AND id = ?"
    appended = {}
    with database.writing() as db:  # until the end no vote comes in, and no other export runs
        for kind, name in FILES.items():
            rows = db.execute(query, (kind,)).fetchall()
            exported_keys = _keys_in(folder / name) if rows else set()
            lines = []
            for identifier, edition, record in rows:
                if (identifier, edition) not in exported_keys:
                    lines.append(record)
            if lines:
                append(folder / name, lines)
            appended[name] = len(lines)
            db.executemany(mark_exported, [(kind, identifier) for identifier, _, _ in rows])
    return appended


def append(path: Path, lines: list[str]) -> None:
    """Replace the file by one with `lines` at its end; it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent.parent / f".{path.name}.{os.getpid()}"  # outside the folder, which DVC may track as a whole
    with partial.open("wb") as file:
        if path.is_file():
            content = path.read_bytes()
            file.write(content)
            if content and not content.endswith(b"\n"):
                file.write(b"\n")
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    for folder in (path.parent, path.parent.parent):
        sync(folder)


def _keys_in(path: Path) -> set[tuple[str, int]]:
    """Return (id, edition) of every line; the empty set where there is no file."""
    keys: set[tuple[str, int]] = set()
    if not path.is_file():
        return keys
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
            keys.add((record["id"], record.get("edition", 1)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number} is no record of feedback ({error}): fix or delete the line, then export."
            ) from error
    return keys
