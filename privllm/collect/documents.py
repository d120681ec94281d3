"""Documents as `collect` stores them, rows of the quarantine, and their names ("sources")."""

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

HOUSEKEEPING = (".DS_Store", "._", "~$", ".~lock.", "Thumbs.db", "desktop.ini")  # beginnings of file names
MAIL_FOLDERS = ("cur", "new", "tmp")  # of a maildir, whose subfolders have names such as `.Sent`
ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")


class CollectedDocument(NamedTuple):
    """A row of `records.DOCUMENTS`."""

    id: str
    source: str
    media_type: str
    encoding: str
    digest: str
    text: str
    title: str = ""
    author: str = ""
    date: str = ""


class Quarantined(NamedTuple):
    """A row of `records.QUARANTINE`: a file, or a part of one, that is no document, and why."""

    source: str
    digest: str  # "" where the bytes were not read
    bytes: int
    reason: str
    detail: str


class PassedOver(NamedTuple):
    """A part of a container that is nobody's document: what a system or an office program left there."""

    source: str


class Unreadable(Exception):
    """A refusal to make a document: a `reason` to count by, a `detail` that helps to fix it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def is_housekeeping(name: str) -> bool:
    """Return whether a name is that of a lock file, or of what a desktop keeps in every folder."""
    folders, _, last = name.replace("\\", "/").rpartition("/")
    return "__MACOSX" in folders.split("/") or last.startswith(HOUSEKEEPING)


def is_hidden(name: str) -> bool:
    """Return whether a path is hidden by one of its steps; subfolders of a maildir are not."""
    steps = [step for step in name.replace("\\", "/").split("/") if step not in ("", ".", "..")]
    return any(
        step.startswith(".") and inner not in MAIL_FOLDERS for step, inner in zip(steps, [*steps[1:], ""], strict=True)
    )


def source_of(path: Path | str, sources: Path) -> str:
    """Return `path` relative to `sources` as UTF-8.

    Bytes of a name that are not UTF-8 become \\xNN, and a backslash becomes two, so that different
    names stay different.
    """
    relative = str(path)[len(str(sources)) + 1 :].replace("\\", "\\\\")
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def path_of(source: str, sources: Path) -> Path:
    """Return the path of a source: the inverse of `source_of`."""
    name = ESCAPED.sub(_unescape, source.encode())
    return Path(f"{sources}/{os.fsdecode(name)}")


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] == b"\\":
        return b"\\"
    return bytes.fromhex(match[1][1:].decode())


def size_or_zero(path: Path) -> int:
    """Return the bytes of `path`, 0 if unknown or without meaning (links, folders, pipes)."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
