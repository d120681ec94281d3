"""Files in data/sources and the documents inside them: resolving a path that a person typed, reading, and removal.

A file is unlinked, and a line of JSONL becomes an empty line, so that the remaining lines keep their
numbers and with them their ids; `parts_of_files` takes parts out of other files. Files are replaced,
never written into: a tracked file may share its bytes with DVC's cache.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from privllm.collect.decode import MARKS
from privllm.collect.documents import CollectedDocument, Quarantined, path_of, size_or_zero, source_of
from privllm.collect.read_file import read_file
from privllm.collect.readers.jsonl import JSONL, read_jsonl
from privllm.collect.readers.registry import is_code, media_type, reader_for, reader_of
from privllm.collect.recipe import CollectConfig
from privllm.collect.scanned_pages import KEY as SCANNED_PAGES
from privllm.collect.source_file import DEFAULT_OPTIONS, ReadOptions, SourceFile
from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE, read_params
from privllm.core.records import whole_source
from privllm.engine.extensions import NO_EXTENSIONS, Extensions
from privllm.manage.parts_of_files import take_out, why_not_taken_out
from privllm.manage.places_of_parts import Placed, below, placed_rows

SOURCES = Path("data/sources")
PROBE_BYTES = 4
LineNumbers = dict[Path, set[int]]  # numbers from 1, by JSONL file
Parts = dict[Path, list[str]]  # sources, by container
Places = dict[Path, list[Placed]]  # by container


@dataclass
class Selection:
    """Files, lines and parts to remove, and the requested paths that do not exist."""

    files: list[Path] = field(default_factory=list)
    lines: LineNumbers = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # sources


def read_options(root: Path) -> ReadOptions:
    """Return what params.yaml says about the reading of formats."""
    path = root / PARAMS_FILE
    return read_params("collect", CollectConfig, path).options if path.is_file() else DEFAULT_OPTIONS


def source_name(word: str, folder: Path) -> str:
    """Return `word` as the `source` of `core.records`.

    It is a path below data/sources, with or without this prefix.
    Raises UserError for a path that leads out of it.
    """
    path = _relative(word, folder)
    if ".." in path.parts:
        raise UserError(f"{word} does not lie below {SOURCES}.")
    return source_of(folder / path, folder) if path.parts else ""


def is_below(source: str, name: str) -> bool:
    """Return whether a document is `name` itself, a section or the scanned pages of it, or lies in the folder or container `name`."""
    if source == name or not name or source.startswith(f"{name}/") or whole_source(source) == name:
        return True
    if source == f"{name}#{SCANNED_PAGES}":
        return True
    reader = reader_of(name)
    return source.startswith(f"{name}#") and reader is not None and reader.holds_many


def file_holding(source: str, folder: Path) -> Path | None:
    """Return the file that a document lies in: `source` itself, or the container before one of its "#"."""
    path = path_of(source, folder)
    if path.is_file():
        return path
    marks = [place for place, character in enumerate(source) if character == "#"]
    for place in marks:
        container = path_of(source[:place], folder)
        if container.is_file() and (is_below(source, source[:place]) or _holds_many(container, folder)):
            return container
    return None


def _holds_many(path: Path, folder: Path) -> bool:
    """Return whether a file holds many documents by its bytes, whatever it is called."""
    reader = reader_for(SourceFile.at(path, folder)) if reader_of(path) else None
    return reader is not None and reader.holds_many


def select(folder: Path, words: list[str], options: ReadOptions = DEFAULT_OPTIONS) -> Selection:
    """Return what `words` (files, folders, lines and parts such as `notes.jsonl#12`) name below the sources' `folder`.

    Raises UserError for all of the sources, for a path that leads out of them, and for a part that cannot be
    taken out of its file.
    """
    selection = Selection()
    line_numbers: LineNumbers = {}
    places: Places = {}
    for word in words:
        name = source_name(word, folder)
        if not name:
            advice = "remove the folder itself, with what was built from it, if that is meant."
            raise UserError(f"{word} is all of {SOURCES}: {advice}")
        path = folder / _relative(word, folder)
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{word} leads out of {SOURCES} by a link: name the file where it is.")
        if path.is_symlink() or path.is_file():
            selection.files.append(path)
        elif path.is_dir():
            selection.files += files_below(path)
        elif _has_line(path, folder, line_numbers):
            file, line = _split_line(path)
            selection.lines.setdefault(file, set()).add(line)
        elif whole_source(name) != name and present(folder, [name], options):
            raise UserError(
                f"{name} is a section of {whole_source(name)}, which is cut anew at each build: take the passage out of "
                "the file and run `dvc repro`, or forget the whole document."
            )
        elif container := _container_of(name, folder, places, options):
            if fault := why_not_taken_out(name, container, source_of(container, folder), options):
                raise UserError(fault)
            selection.parts.setdefault(container, []).append(name)
        else:
            selection.missing.append(name)
    selection.files = sorted(set(selection.files))
    for file in selection.files:
        selection.lines.pop(file, None)
        selection.parts.pop(file, None)
    return selection


def _container_of(name: str, folder: Path, places: Places, options: ReadOptions) -> Path | None:
    """Return the container that has a part or a folder `name`, None where there is none.

    places: of what lies in the containers read so far.
    """
    container = file_holding(name, folder)
    if container is None or container == path_of(name, folder):
        return None
    if container not in places:
        places[container] = placed_rows(container, folder, 1 << 40, options)
    return container if below(places[container], name) else None


def files_below(folder: Path) -> list[Path]:
    """Return every file and link below `folder`, hidden ones too; links to folders are not followed."""
    paths: list[Path] = []
    for parent, folders, files in os.walk(folder):
        paths += [Path(parent, name) for name in files]
        paths += [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
    return paths


def present(folder: Path, sources: Iterable[str], options: ReadOptions = DEFAULT_OPTIONS) -> set[str]:
    """Return those of `sources` that the folder holds, whatever their content is now.

    It holds a section if it holds the section's document.
    """
    line_numbers: LineNumbers = {}
    places: Places = {}
    present_sources = set()
    for source in sources:
        # The name of a file that is not UTF-8 does not match again: the file then counts as gone.
        document = whole_source(source)
        path = folder / document.replace("\\\\", "\\")
        is_there = os.path.lexists(path) or _has_line(path, folder, line_numbers)
        container = None if is_there else _container_of(document, folder, places, options)
        if is_there or (container and any(document in placed.names for placed in places[container])):
            present_sources.add(source)
    return present_sources


def read(
    path: Path,
    folder: Path,
    max_bytes: int,
    extensions: Extensions = NO_EXTENSIONS,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Iterator[CollectedDocument | Quarantined]:
    """Yield the documents of one file as `collect` reads them.

    A file that `collect` passes over is a refusal without a digest.
    """
    reader = reader_of(path, extensions)
    is_too_large = size_or_zero(path) > max_bytes and not (reader and reader.holds_many)
    if reader is None or is_too_large or (is_code(reader) and not options.code) or not path.is_file():
        yield Quarantined(source_of(path, folder), "", size_or_zero(path), "not_read", "")
    else:
        yield from read_file(path, folder, max_bytes, extensions, options)


def read_selected(
    selection: Selection,
    folder: Path,
    max_bytes: int,
    extensions: Extensions,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Iterator[CollectedDocument | Quarantined]:
    """Yield the documents of the selected files, lines and parts."""
    for path in selection.files:
        yield from read(path, folder, max_bytes, extensions, options)
    for path, numbers in selection.lines.items():
        for row in read(path, folder, max_bytes, options=options):
            if int(row.source.rpartition("#")[2]) in numbers:
                yield row
    for path, names in selection.parts.items():
        placed = placed_rows(path, folder, max_bytes, options, extensions)
        inside = set().union(*({found.row.source for found in below(placed, name)} for name in names))
        yield from (found.row for found in placed if found.row.source in inside)


def sources_beside(selection: Selection, folder: Path, options: ReadOptions) -> set[str]:
    """Return what lies in the containers of the selected parts and in none of these, whatever it is called."""
    beside: set[str] = set()
    for path, names in selection.parts.items():
        placed = placed_rows(path, folder, 1 << 40, options)
        inside = set().union(*({found.row.source for found in below(placed, name)} for name in names))
        beside.update(found.row.source for found in placed if found.row.source not in inside)
    return beside


def remove(selection: Selection, folder: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
    """Remove the selected files, lines and parts, and the folders that become empty. May be repeated."""
    for path, numbers in selection.lines.items():
        blank(path, numbers, folder)
    for path, names in selection.parts.items():
        take_out(path, source_of(path, folder), {*names}, options)
    for path in selection.files:
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def blank(path: Path, numbers: set[int], folder: Path) -> None:
    """Make these lines of a JSONL file empty. The file is replaced as a whole.

    Raises UserError, the file unchanged, where the remaining lines would not stay as they are.
    """
    partial = path.with_name(f".partial.{path.name}")  # `collect` passes over hidden names
    try:
        with path.open("rb") as source, partial.open("wb") as target:
            target.writelines(_blanked(source, numbers))
        expected = [(number, digest) for number, digest in numbered(path, folder) if number not in numbers]
        if list(numbered(partial, folder)) != expected:
            lines = ", ".join(map(str, sorted(numbers)))
            raise UserError(f"{path} cannot be split into lines safely: make line {lines} empty by hand.")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def numbered(path: Path, folder: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, digest) of each line of a JSONL file that is not blank; nothing for another file."""
    if media_type(path) == JSONL and path.is_file():
        for row in read_jsonl(SourceFile.at(path, folder), 1 << 40):
            number = row.source.rpartition("#")[2]
            if number.isdigit():
                yield int(number), row.digest


def _blanked(file: IO[bytes], numbers: set[int]) -> Iterator[bytes]:
    """Yield the lines of a file; those in `numbers` are empty, but keep a byte order mark and their end."""
    mark, encoding = _byte_order_mark(file)
    newline = "\n".encode(encoding)
    lines = file if len(newline) == 1 else _wide_lines(file.read(), encoding)
    for number, line in enumerate(lines, start=1):
        if number not in numbers:
            yield line
            continue
        if number == 1:
            yield mark
        if line.endswith(newline):
            yield newline


def _byte_order_mark(file: IO[bytes]) -> tuple[bytes, str]:
    """Return a file's byte order mark and the encoding that it stands for; UTF-8 without one."""
    head = file.read(PROBE_BYTES)
    file.seek(0)
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return mark, encoding
    return b"", "utf-8"


def _wide_lines(data: bytes, encoding: str) -> Iterator[bytes]:
    """Yield lines with their ends, of text whose characters are units of two or four bytes."""
    width = len("\n".encode(encoding))
    byte_order = ">" if encoding.endswith("be") else "<"
    units = np.frombuffer(data[: len(data) // width * width], f"{byte_order}u{width}")
    line_ends = (np.flatnonzero(units == ord("\n")) + 1) * width
    begin = 0
    for end in [*line_ends.tolist(), len(data)]:
        yield data[begin:end]
        begin = end


def _split_line(path: Path) -> tuple[Path, int]:
    """Return the file and number of `file.jsonl#12`; the number is 0 where the path names no line."""
    name, mark, number = path.name.rpartition("#")
    if not (mark and name and number.isdigit()) or media_type(Path(name)) != JSONL:
        return path, 0
    return path.with_name(name), int(number)


def _has_line(path: Path, folder: Path, line_numbers: LineNumbers) -> bool:
    """Return whether `path` names a line that exists and is not blank.

    line_numbers: the lines of the files read so far, to read each file once.
    """
    file, line = _split_line(path)
    if not line:
        return False
    if file not in line_numbers:
        line_numbers[file] = {number for number, _ in numbered(file, folder)}
    return line in line_numbers[file]


def _relative(word: str, folder: Path) -> Path:
    path = Path(word)
    if path.is_absolute():
        return Path(os.path.relpath(path, folder.absolute()))
    return path.relative_to(SOURCES) if path.parts[:2] == SOURCES.parts else path
