"""data/sources as files and lines: what a path that a person typed means, what stands there, and taking it away.

A file is unlinked and a line of JSONL becomes an empty line, so that the others keep their numbers and with them their
ids. Files are replaced, never written into: a tracked one may share its bytes with DVC's cache.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from privllm.collect.decode import MARKS
from privllm.collect.documents import CollectedDocument, Quarantined, size_or_zero, source_of
from privllm.collect.readers.jsonl import JSONL, read_jsonl
from privllm.collect.readers.registry import media_type, read_file
from privllm.core.errors import UserError

SOURCES = Path("data/sources")
PROBE_BYTES = 4


@dataclass
class Selection:
    """What is to be taken away, and which of the paths asked for are not there."""

    files: list[Path] = field(default_factory=list)
    lines: dict[Path, set[int]] = field(default_factory=dict)  # numbers, from 1, by JSONL file
    missing: list[str] = field(default_factory=list)  # sources


def source_name(word: str, folder: Path) -> str:
    """`word` as the `source` of `core.records`: a path below data/sources, with or without these words in front.

    Raises UserError for a path that leads out of it.
    """
    path = _relative(word, folder)
    if ".." in path.parts:
        raise UserError(f"{word} does not lie below {SOURCES}.")
    return source_of(folder / path, folder) if path.parts else ""


def is_below(source: str, name: str) -> bool:
    """Is the document `source` the one called `name`, a line of that JSONL file, or in that folder?"""
    head, mark, number = source.rpartition("#")
    is_line = mark and number.isdigit() and head == name and media_type(Path(name)) == JSONL
    return source == name or bool(is_line) or source.startswith(f"{name}/") or not name


def select(folder: Path, words: list[str]) -> Selection:
    """What `words` (files, folders, lines such as `notes.jsonl#12`) name below the sources' `folder`.

    Raises UserError for all of the sources, and for a path that leads out of them.
    """
    found = Selection()
    held: dict[Path, set[int]] = {}
    for word in words:
        name = source_name(word, folder)
        if not name:
            raise UserError(f"{word} is all of {SOURCES}: remove the folder itself, with what was built from it, if that is meant.")
        path = folder / _relative(word, folder)
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{word} leads out of {SOURCES} by a link: name the file where it is.")
        if path.is_symlink() or path.is_file():
            found.files.append(path)
        elif path.is_dir():
            found.files += files_below(path)
        elif _has_line(path, folder, held):
            file, line = _line(path)
            found.lines.setdefault(file, set()).add(line)
        else:
            found.missing.append(name)
    found.files = sorted(set(found.files))
    for file in found.files:
        found.lines.pop(file, None)
    return found


def files_below(folder: Path) -> list[Path]:
    """Every file and link below `folder`, hidden ones too; links to folders are not followed."""
    found = []
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        found += [Path(here) / name for name in [*names, *links]]
    return found


def present(folder: Path, sources: Iterable[str]) -> set[str]:
    """Those of `sources` that the folder holds, whatever they say now."""
    held: dict[Path, set[int]] = {}
    found = set()
    for source in sources:
        path = folder / source.replace("\\\\", "\\")  # a name that is not UTF-8 is not found again: then it counts as gone
        if os.path.lexists(path) or _has_line(path, folder, held):
            found.add(source)
    return found


def read(path: Path, folder: Path, max_bytes: int) -> Iterator[CollectedDocument | Quarantined]:
    """What one file says, as `collect` reads it; a file that it passes over is a refusal without a digest."""
    kind = media_type(path)
    if kind == JSONL:
        yield from read_jsonl(path, folder, max_bytes)
    elif kind is None or size_or_zero(path) > max_bytes or not path.is_file():
        yield Quarantined(source_of(path, folder), "", size_or_zero(path), "not_read", "")
    else:
        yield from read_file(path, folder, max_bytes)


def read_selected(selection: Selection, folder: Path, max_bytes: int) -> Iterator[CollectedDocument | Quarantined]:
    """What is to be taken away says this."""
    for path in selection.files:
        yield from read(path, folder, max_bytes)
    for path, numbers in selection.lines.items():
        for row in read(path, folder, max_bytes):
            if int(row.source.rpartition("#")[2]) in numbers:
                yield row


def remove(selection: Selection, folder: Path) -> None:
    """Take the selected files and lines away, and the folders that are left empty. Doing it twice does no harm."""
    for path, numbers in selection.lines.items():
        blank(path, numbers, folder)
    for path in selection.files:
        path.unlink(missing_ok=True)
        for above in path.parents:
            if above == folder or not above.is_dir() or any(above.iterdir()):
                break
            above.rmdir()


def blank(path: Path, numbers: set[int], folder: Path) -> None:
    """Make these lines of a JSONL file empty; a reader sees the old file or the new one.

    Raises UserError, the file unchanged, where the other lines would not stay as they are.
    """
    partial = path.with_name(f".partial.{path.name}")  # `collect` passes over hidden names
    try:
        with path.open("rb") as old, partial.open("wb") as new:
            new.writelines(_blanked(old, numbers))
        expected = [row for row in numbered(path, folder) if row[0] not in numbers]
        if list(numbered(partial, folder)) != expected:
            raise UserError(
                f"{path} cannot be cut into lines safely: take the lines {sorted(numbers)} out of it by hand, leaving them empty."
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def numbered(path: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """(number, digest) of each line of a JSONL file that is not blank; nothing for another file."""
    if media_type(path) == JSONL and path.is_file():
        for row in read_jsonl(path, folder, 1 << 40):
            number = row.source.rpartition("#")[2]
            if number.isdigit():
                yield int(number), row.digest


def _blanked(file: IO[bytes], numbers: set[int]) -> Iterator[bytes]:
    head = file.read(PROBE_BYTES)
    file.seek(0)
    mark, encoding = next(((mark, name) for mark, name in MARKS if head.startswith(mark)), (b"", "utf-8"))
    newline = "\n".encode(encoding)
    for number, line in enumerate(file if len(newline) == 1 else _wide_lines(file.read(), encoding), start=1):
        if number in numbers:
            yield (mark if number == 1 else b"") + (newline if line.endswith(newline) else b"")
        else:
            yield line


def _wide_lines(data: bytes, encoding: str) -> Iterator[bytes]:
    """Lines with their ends, of text whose characters are units of two or four bytes."""
    width = len("\n".encode(encoding))
    units = np.frombuffer(data[: len(data) // width * width], f"{'>' if encoding.endswith('be') else '<'}u{width}")
    begin = 0
    for end in [*((np.flatnonzero(units == ord("\n")) + 1) * width).tolist(), len(data)]:
        yield data[begin:end]
        begin = end


def _line(path: Path) -> tuple[Path, int]:
    """A JSONL file and a number from `file.jsonl#12`; 0 where the path names no line."""
    name, mark, number = path.name.rpartition("#")
    is_line = bool(mark) and number.isdigit() and name != "" and media_type(Path(name)) == JSONL
    return (path.with_name(name), int(number)) if is_line else (path, 0)


def _has_line(path: Path, folder: Path, held: dict[Path, set[int]]) -> bool:
    """Does `path` name a line that is there, and not blank? `held` remembers the files' lines."""
    file, line = _line(path)
    if line and file not in held:
        held[file] = {number for number, _ in numbered(file, folder)}
    return line > 0 and line in held[file]


def _relative(word: str, folder: Path) -> Path:
    path = Path(word)
    if path.is_absolute():
        return Path(os.path.relpath(path, folder.absolute()))
    return path.relative_to(SOURCES) if path.parts[:2] == SOURCES.parts else path
