"""Where the rows of a file lie: a part is no folder, so beside the mail `x@h` the mail `x@h/2` may stand.

Only archives, books and web archives have folders. A member of an archive that is called as a folder of it is
taken for the member while it is there.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import FileReading
from privllm.collect.readers.archive import ArchiveReader
from privllm.collect.readers.epub import EpubReader
from privllm.collect.readers.registry import reader_for
from privllm.collect.readers.warc import WarcReader
from privllm.collect.source_file import ReadOptions, SourceFile
from privllm.engine.extensions import NO_EXTENSIONS, Extensions

WITH_FOLDERS = (ArchiveReader, EpubReader, WarcReader)


class Placed(NamedTuple):
    """A row of a file, and the sources of the parts that it lies in and is."""

    row: CollectedDocument | Quarantined
    names: set[str]
    folder: str  # the source, where it may lie in folders


def placed_rows(
    path: Path, folder: Path, max_bytes: int, options: ReadOptions, extensions: Extensions = NO_EXTENSIONS
) -> list[Placed]:
    """Return the documents of a file, and refusals, with their places."""
    placed = []
    file = SourceFile.at(path, folder, options)
    has_folders = isinstance(reader_for(file, extensions), WITH_FOLDERS)
    for row, origin in FileReading(max_bytes, extensions).rows(file):
        if isinstance(row, CollectedDocument | Quarantined):
            names = {row.source, *(row.source[:length] for length in origin.parts)}
            placed.append(Placed(row, names, row.source if has_folders else ""))
    return placed


def below(rows: Iterable[Placed], name: str) -> list[Placed]:
    """Return the rows that lie in the part `name`, or, where there is none, in the folder."""
    rows = list(rows)
    inside = [placed for placed in rows if name in placed.names]
    return inside or [placed for placed in rows if placed.folder.startswith(f"{name}/")]
