"""Writing of feedback files: lines are appended, and lines are taken out; both replace the file.

A file may be a link into DVC's cache, or a read-only copy, so it is never written in place. What is
written is on the disk before it counts. Links that DVC did not make are left alone.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.engine.digests import sync
from privllm.feedback.reading import BOM, files_of, is_foreign_link

PARTIAL = ".partial"  # ends the name of a file that is being written
Selects = Callable[[Any, str], bool]  # (a line as JSON, None where it is none; the line) -> is it to be taken out?


def append(path: Path, lines: list[str]) -> None:
    """Replace the file by one with `lines` at its end. Raises UserError for a link that DVC did not make."""
    if is_foreign_link(path):
        raise UserError(f"{path} is a link to elsewhere, which nothing is written through: put the file itself there.")
    content = path.read_bytes() if path.is_file() else b""
    line_end = b"" if not content or content.endswith(b"\n") else b"\n"
    _replace(path, [content, line_end, "".join(f"{line}\n" for line in lines).encode()])


def select_lines(folder: Path, selects: Selects) -> dict[Path, list[bytes]]:
    """Return {file: lines that `selects` takes} of every feedback file below `folder`."""
    selected = {}
    for path in _own_files(folder):
        lines = [line for line in path.read_bytes().split(b"\n") if _is_selected(line, selects)]
        if lines:
            selected[path] = lines
    return selected


def remove_lines(folder: Path, selects: Selects) -> dict[Path, int]:
    """Take the lines that `selects` takes out of every feedback file; return {file: lines taken out}."""
    removed = {}
    for path, lines in select_lines(folder, selects).items():
        unwanted = set(lines)
        kept = [line for line in path.read_bytes().split(b"\n") if line not in unwanted]
        _replace(path, [b"\n".join(kept)])
        removed[path] = len(lines)
    return removed


def _own_files(folder: Path) -> list[Path]:
    return [path for path in files_of(folder) if not is_foreign_link(path)]


def _is_selected(line: bytes, selects: Selects) -> bool:
    if not line.strip():
        return False
    text = line.removeprefix(BOM).decode("utf-8", "replace")
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        plain = None
    return selects(plain, text)


def _replace(path: Path, parts: Iterable[bytes]) -> None:
    """Replace the file by one of these bytes; they are on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partial(path.parent)
    partial = path.with_name(f".{path.name}{PARTIAL}")  # beside it: the folder may be another disk's
    try:
        with partial.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):  # which may be new too
        sync(folder)


def remove_partial(folder: Path) -> None:
    """Delete what a call that was killed has left of a file at or below `folder`: people's words stand in it."""
    for partial in folder.rglob(f".*{PARTIAL}"):
        partial.unlink(missing_ok=True)
