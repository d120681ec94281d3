"""The folder of sources: which files are documents, and what each of them says.

`survey` looks at names and sizes only and opens nothing; `read_file` opens one file. Nothing outside the folder is
read: a link that leads out of it is refused (DVC's own links into its cache excepted). Archives, mails and office
files are not unpacked here; they are refused by name.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.decode import Unreadable, decode
from privllm.collect.dvcignore import DvcIgnore
from privllm.collect.file_index import Listing
from privllm.core.records import document_id
from privllm.core.seed import digest
from privllm.engine.digests import Status, status_in

MEDIA_TYPES = {
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".jsonl": "application/jsonl",  # one document a line, see collect/jsonl.py
}
JSONL = MEDIA_TYPES[".jsonl"]
ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")
FOUND, PASSED_OVER, HIDDEN_FOLDER, BELOW_HIDDEN = "found", "passed over", "hidden folder", "below a hidden folder"
DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")  # where `cache.type = symlink` makes a tracked file point


class Refused(NamedTuple):
    """A row of `records.QUARANTINE`."""

    source: str
    digest: str  # "" where the bytes were not read
    bytes: int
    reason: str
    detail: str


class Document(NamedTuple):
    """A row of `records.DOCUMENTS`."""

    id: str
    source: str
    media_type: str
    encoding: str
    digest: str
    text: str


class Survey(NamedTuple):
    files: pa.Table  # `listing.FILES` to be read, and their status when they were found; in the order of their sources
    refused: list[Refused]
    ignored: int  # hidden names, DVC's own files, and what DVC passes over
    unread: pa.Table  # `listing.FILES` of what is refused or ignored here, and tracked by DVC all the same


def source_of(path: Path | str, sources: Path) -> str:
    """`path` below `sources` as UTF-8; bytes of a name that are not become \\xNN (and a backslash two, so names stay apart)."""
    relative = str(path)[len(str(sources)) + 1 :].replace("\\", "\\\\")
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def path_of(source: str, sources: Path) -> Path:
    """The inverse of `source_of`."""
    name = ESCAPED.sub(lambda found: b"\\" if found[1] == b"\\" else bytes.fromhex(found[1][1:].decode()), source.encode())
    return Path(f"{sources}/{os.fsdecode(name)}")


def media_type(path: Path | str) -> str | None:
    _, dot, suffix = str(path).rpartition(".")
    return MEDIA_TYPES.get(dot + suffix.lower())


def survey(sources: Path, max_bytes: int) -> Survey:
    """Every file below `sources`, sorted by source into what will be read and what will not."""
    listing, unread, refused = Listing(), Listing(), list[Refused]()
    ignored = 0
    home = sources.resolve()
    for entry, fate in _entries(sources, refused):
        if fate in (PASSED_OVER, HIDDEN_FOLDER):
            ignored += 1
            continue
        source = source_of(entry.path, sources)
        if fate == BELOW_HIDDEN or entry.name.startswith(".") or entry.name.endswith(".dvc"):
            ignored += fate != BELOW_HIDDEN  # a hidden folder counts once
            _list_regular(unread, entry, source)
            continue
        try:
            status = _status(entry, home)
            _check(entry.name, status[0], max_bytes)
            listing.add(source, status)
        except Unreadable as why:
            refused.append(Refused(source, "", size_or_zero(Path(entry.path)), why.reason, why.detail))
            _list_regular(unread, entry, source)
    return Survey(_sorted(listing), refused, ignored, _sorted(unread))


def _sorted(listing: Listing) -> pa.Table:
    table = listing.table()
    return table.take(pc.sort_indices(table["source"]))


def _entries(sources: Path, refused: list[Refused]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Everything below `sources` with what becomes of it; of folders only those that are hidden or that DVC passes over."""
    rules = DvcIgnore(sources)
    start = len(str(sources)) + 1
    waiting = [(sources, FOUND)]
    while waiting:
        folder, fate = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if rules.passes_over(entry.path[start:], is_folder):
                        if fate == FOUND:
                            yield entry, PASSED_OVER
                    elif not is_folder:
                        yield entry, fate
                    elif fate == FOUND and entry.name.startswith("."):
                        yield entry, HIDDEN_FOLDER
                        waiting.append((Path(entry.path), BELOW_HIDDEN))
                    else:
                        waiting.append((Path(entry.path), fate))
        except OSError as error:
            if fate == FOUND:
                refused.append(Refused(source_of(folder, sources), "", 0, "unreadable", f"folder: {error.strerror}"))


def _list_regular(listing: Listing, entry: os.DirEntry[str], source: str) -> None:
    """Add what an entry leads to, where that is a regular file."""
    with suppress(OSError):
        status = entry.stat()
        if stat.S_ISREG(status.st_mode):
            listing.add(source, status_in(status))


def _status(entry: os.DirEntry[str], home: Path) -> Status:
    """The status of a regular file. Raises `Unreadable` for anything else."""
    try:
        if entry.is_symlink():
            _check_link(Path(entry.path), home)
        status = entry.stat()  # of what a link leads to
    except OSError as error:
        raise Unreadable("unreadable", error.strerror or "cannot be examined") from None
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("not_a_file", "a pipe, socket or device")
    return status_in(status)


def _check_link(path: Path, home: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise Unreadable("dangling_link", "it leads nowhere: remove it, or put the file in its place") from None
    if target.is_dir():
        raise Unreadable("linked_folder", "folders are not followed through links: put the folder itself here")
    if not target.is_relative_to(home) and not DVC_CACHE.search(target.as_posix()):
        raise Unreadable("link_outside", "it leads out of the sources: put the file itself here")


def _check(name: str, size: int, max_bytes: int) -> None:
    kind = media_type(name)
    if kind is None:
        raise Unreadable(
            "unsupported",
            f"{Path(name).suffix.lower() or 'no suffix'}: the suffixes read are {' '.join(MEDIA_TYPES)}".encode(
                "utf-8", "replace"
            ).decode(),
        )
    if size > max_bytes and kind != JSONL:
        raise Unreadable("too_large", "over collect.max_megabytes: split it, or raise the limit")
    if size == 0:
        raise Unreadable("empty", "no bytes")


def size_or_zero(path: Path) -> int:
    """Bytes of `path`, 0 where that cannot be known or means nothing (links, folders, pipes)."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def read_file(path: Path, sources: Path) -> Document | Refused:
    """The document that one file is, or why it is none."""
    source = source_of(path, sources)
    try:
        data = path.read_bytes()
    except OSError as error:
        return Refused(source, "", size_or_zero(path), "unreadable", error.strerror or "cannot be opened")
    kind = media_type(path)
    assert kind is not None, source
    hashed = digest(data)
    try:
        text, encoding = decode(data, markup=kind == "text/html")
        if not text or text.isspace():
            raise Unreadable("empty", "nothing but white space")
    except Unreadable as why:
        return Refused(source, hashed, len(data), why.reason, why.detail)
    return Document(document_id(source), source, kind, encoding, hashed, text)
