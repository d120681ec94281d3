"""Parts of files that are taken out of them: messages of a mailbox, rows of a table in CSV or TSV, members of a ZIP or tar.

The file is written anew beside itself and takes its place only where it then holds the parts that were to
stay, under the same names and with the same bytes. Of other formats, and of what lies deeper than a part, a message
says what to do.
"""

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import BinaryIO, NamedTuple

from privllm.collect.read_file import FileReading
from privllm.collect.readers.archive import TAR_SUFFIXES, ArchiveReader
from privllm.collect.readers.csv_table import CsvTableReader, raw_rows
from privllm.collect.readers.mail import MailReader, is_mailbox, mailbox_lines
from privllm.collect.readers.registry import reader_for
from privllm.collect.source_file import ReadOptions, SourceFile
from privllm.collect.zip_kind import DAMAGE, ZIP_SIGNATURES
from privllm.core.errors import UserError
from privllm.core.seed import digest

NO_LIMIT = 1 << 40  # bytes of a part
PLACES = {  # by suffix: how people take a part out of a format that is not written here
    ".json": "take the member out of the array in an editor",
    ".parquet": "filter the row out, such as with DuckDB or pandas, and write the table anew",
    ".arrow": "filter the row out, such as with `datasets`, and save the data set anew",
    ".feather": "filter the row out, such as with pandas, and write the table anew",
    ".epub": "forget the whole book, or take the chapter out with an editor of books",
    ".eml": "forget the whole mail, or save it without the attachment with a mail program",
}
TAR_MODES = {b"\x1f\x8b": "w:gz", b"BZ": "w:bz2", b"\xfd7": "w:xz"}


class Part(NamedTuple):
    """A part that lies in a file itself, not in another part."""

    source: str
    digest: str


def parts_in(path: Path, source: str, options: ReadOptions) -> list[Part]:
    """Return the parts of a file below the sources, called `source`, in their order."""
    file = SourceFile(source, source, path, options=options)
    parts = []
    for part in FileReading(NO_LIMIT).parts(file):
        content = digest(part.data) if isinstance(part, SourceFile) else getattr(part, "digest", "")
        parts.append(Part(part.source, content))
    return parts


def why_not_taken_out(name: str, path: Path, source: str, options: ReadOptions) -> str:
    """Return why the part called `name` cannot be taken out of a file, and what to do; "" where it can."""
    advice = "take it out of there with the program that made the file, and run the same command again"
    if _writer(path, source, options) is None:
        advice = PLACES.get(path.suffix.lower(), advice)
        return f"{name} lies inside {path.name}, which privllm reads and does not write: {advice}."
    inside = [part.source for part in parts_in(path, source, options) if part.source != source]
    deeper = [part for part in inside if name.startswith((f"{part}/", f"{part}#"))]
    if deeper and name not in inside:
        return f"{name} lies inside {deeper[0]}, which is taken out only as a whole: forget {deeper[0]}, or {advice}."
    return ""


def take_out(path: Path, source: str, names: Set[str], options: ReadOptions) -> None:
    """Write a file anew without the parts that lie below `names`. May be repeated.

    Raises UserError, the file unchanged, where the other parts would not stay as they are.
    """
    write = _writer(path, source, options)
    assert write is not None, source
    parts = parts_in(path, source, options)
    removed = _numbers_below(parts, names, write in (_write_zip, _write_tar))
    partial = path.with_name(f".partial.{path.name}")  # `collect` passes over hidden names
    try:
        try:
            with path.open("rb") as old, partial.open("wb") as new:
                write(old, new, removed)
        except DAMAGE as error:
            raise UserError(f"{path} cannot be written anew ({error}): repair it first, or edit it by hand.") from None
        expected = [part for number, part in enumerate(parts) if number not in removed]
        if (parts_in(partial, source, options) if expected else []) != expected:
            listed = ", ".join(sorted(names))
            raise UserError(
                f"{listed} cannot be taken out of {path} without changing the names of its neighbours: equal parts have to go "
                "together. Name them all, or edit the file by hand."
            )
        shutil.copymode(path, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


Writer = Callable[[BinaryIO, BinaryIO, Set[int]], None]  # of all of a file but the parts with these numbers


def _writer(path: Path, source: str, options: ReadOptions) -> Writer | None:
    """Return what writes a file of this format without some of its parts, None where nothing does."""
    reader = reader_for(SourceFile(source, source, path, options=options))
    with path.open("rb") as opened:
        head = opened.read(8)
    if isinstance(reader, MailReader) and is_mailbox(source, head):
        return _write_mailbox
    if isinstance(reader, CsvTableReader):
        return lambda old, new, removed: _write_rows(old, new, removed, options.text_key)
    if isinstance(reader, ArchiveReader) and head.startswith(ZIP_SIGNATURES):
        return _write_zip
    if isinstance(reader, ArchiveReader) and source.lower().endswith(TAR_SUFFIXES):
        return _write_tar
    return None


def _numbers_below(parts: Sequence[Part], names: Set[str], have_folders: bool) -> set[int]:
    """Return the numbers of the parts that are among `names`, or lie in a folder that is.

    What is a part is no folder: beside the mail `x@h` the mail `x@h/2` may stand.
    """
    folders = names - {part.source for part in parts} if have_folders else set()
    below = tuple(f"{folder}/" for folder in folders)
    return {number for number, part in enumerate(parts) if part.source in names or part.source.startswith(below)}


def _write_mailbox(old: BinaryIO, new: BinaryIO, removed: Set[int]) -> None:
    for number, line in mailbox_lines(old):
        if number not in removed:
            new.write(line)


def _write_rows(old: BinaryIO, new: BinaryIO, removed: Set[int], text_key: str) -> None:
    """Write a table; the row of names and blank rows have no number and stay."""
    for number, row in raw_rows(old, NO_LIMIT, text_key):
        if number not in removed:
            new.write(row)


def _write_zip(old: BinaryIO, new: BinaryIO, removed: Set[int]) -> None:
    with zipfile.ZipFile(old) as archive, zipfile.ZipFile(new, "w") as target:
        target.comment = archive.comment
        number = -1
        for info in archive.infolist():
            number += not info.is_dir() and (info.external_attr >> 28) != 0xA
            if info.is_dir() or (info.external_attr >> 28) == 0xA or number not in removed:
                with archive.open(info) as member, target.open(info, "w") as copy:
                    shutil.copyfileobj(member, copy)


def _write_tar(old: BinaryIO, new: BinaryIO, removed: Set[int]) -> None:
    mode = TAR_MODES.get(old.read(2), "w")
    old.seek(0)
    with tarfile.open(fileobj=old) as archive, tarfile.open(fileobj=new, mode=mode) as target:  # type: ignore[call-overload]
        for info, is_removed in _members(archive, removed):
            if not is_removed:
                target.addfile(info, archive.extractfile(info) if info.isreg() else None)


def _members(archive: tarfile.TarFile, removed: Set[int]) -> Iterator[tuple[tarfile.TarInfo, bool]]:
    """Yield the members, and whether they go; only files have numbers."""
    number = -1
    for info in archive:
        number += info.isreg()
        yield info, info.isreg() and number in removed
