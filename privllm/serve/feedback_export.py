"""Export of ratings and votes from SQLite: each is appended to data/feedback/*.jsonl exactly once.

    data/feedback/ratings.jsonl, votes.jsonl      fields: `feedback.records`

A row is marked as exported only after its line is on the disk. If the process is killed in between,
the next export finds the line in the file and only marks the row. What was taken back after an export
is first taken out of every file of the folder. Nothing is added to DVC here.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.feedback.files import append, remove_lines
from privllm.serve.database import Database

FOLDER = Path("data/feedback")
FILES = {"rating": "ratings.jsonl", "vote": "votes.jsonl"}


class Exported(NamedTuple):
    """What an export did to the files, by name below the folder."""

    appended: dict[str, int]
    removed: dict[str, int]  # lines of what was taken back


def export_feedback(database: Database, folder: Path = FOLDER) -> Exported:
    """Append new records to the files, and take out of them what was taken back.

    Raises UserError where a file has lines that are no feedback.
    """
    query = "SELECT id, edition, record FROM records WHERE kind = ? AND NOT exported ORDER BY rowid"
    mark_exported = "UPDATE records SET exported = 1 WHERE kind = ? AND id = ?"
    appended = {}
    with database.writing() as db:  # until the end no vote comes in, and no other export runs
        withdrawn = set(db.execute("SELECT kind, id FROM withdrawn").fetchall())
        removed = _remove(folder, withdrawn) if withdrawn else {}
        db.execute("DELETE FROM withdrawn")
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
    return Exported(appended, removed)


def _remove(folder: Path, withdrawn: set[tuple[str, str]]) -> dict[str, int]:
    def selects(plain: Any, line: str) -> bool:
        return key_of(plain) in withdrawn

    return {path.relative_to(folder).as_posix(): count for path, count in remove_lines(folder, selects).items()}


def key_of(plain: Any) -> tuple[str, str] | None:
    """Return (kind, id) of a line's record; None of anything else."""
    if not isinstance(plain, dict) or not isinstance(plain.get("id"), str):
        return None
    return ("vote" if "choice" in plain else "rating"), plain["id"]


def _keys_in(path: Path) -> set[tuple[str, int]]:
    """Return (id, edition) of every line; the empty set where there is no file."""
    keys: set[tuple[str, int]] = set()
    if not path.is_file():
        return keys
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
            keys.add((record["id"], record.get("edition", 1)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number} is no record of feedback ({error}): fix or delete the line, then export."
            ) from error
    return keys
