"""A survey of the sources: which files are documents by name, kind and size.

It opens no file; the readers do. Nothing outside the folder is read: a link that leads out of it is
refused (DVC's own links into its cache excepted). Files of formats that no reader has are refused
by name.
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

from privllm.collect.documents import MAIL_FOLDERS, Quarantined, Unreadable, is_housekeeping, size_or_zero, source_of
from privllm.collect.dvcignore import DvcIgnore
from privllm.collect.file_index import Listing
from privllm.collect.readers.reader import NO_CODE, TOO_LARGE
from privllm.collect.readers.registry import is_code, reader_of, why_not_read
from privllm.collect.source_file import DEFAULT_OPTIONS, ReadOptions
from privllm.engine.digests import Status, status_in
from privllm.engine.extensions import NO_EXTENSIONS, Extensions

VISIBLE = "visible"
IGNORED_BY_DVC = "ignored by DVC"
HIDDEN_FOLDER = "hidden folder"
BELOW_HIDDEN = "below a hidden folder"
# The target of a tracked file in a repository with `cache.type = symlink`.
DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


class Survey(NamedTuple):
    """The files below the sources, by what becomes of them."""

    files: pa.Table  # `file_index.FILES` to be read, with the status that the survey saw, sorted by source
    refused: list[Quarantined]
    ignored: int  # hidden names, lock files, DVC's own files, and what DVC ignores
    unread: pa.Table  # `file_index.FILES` of what is refused or ignored here, and tracked by DVC all the same


def survey(
    sources: Path, max_bytes: int, extensions: Extensions = NO_EXTENSIONS, options: ReadOptions = DEFAULT_OPTIONS
) -> Survey:
    """List the files below `sources` that will be read, and those that will not."""
    to_read, unread, refused = Listing(), Listing(), list[Quarantined]()
    ignored = 0
    home = sources.resolve()
    for entry, fate in _entries(sources, refused):
        if fate in (IGNORED_BY_DVC, HIDDEN_FOLDER):
            ignored += 1
            continue
        source = source_of(entry.path, sources)
        is_ignored = entry.name.startswith(".") or entry.name.endswith(".dvc") or is_housekeeping(source)
        if fate == BELOW_HIDDEN or is_ignored:
            ignored += fate != BELOW_HIDDEN  # a hidden folder counts once
            _list_regular(unread, entry, source)
            continue
        try:
            status = _status(entry, home)
            _check(entry.path, status[0], max_bytes, extensions, options)
            to_read.add(source, status)
        except Unreadable as refusal:
            size = size_or_zero(Path(entry.path))
            refused.append(Quarantined(source, "", size, refusal.reason, refusal.detail))
            _list_regular(unread, entry, source)
    return Survey(_sorted(to_read), refused, ignored, _sorted(unread))


def _sorted(listing: Listing) -> pa.Table:
    """Return a listing in the order of its sources."""
    table = listing.table()
    return table.take(pc.sort_indices(table["source"]))


def _entries(sources: Path, refused: list[Quarantined]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Yield files below `sources`, and folders that are hidden or ignored, with their visibility.

    Folders that cannot be listed are added to `refused`.
    """
    rules = DvcIgnore(sources)
    prefix = len(str(sources)) + 1
    waiting = [(sources, VISIBLE)]
    while waiting:
        folder, fate = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if rules.ignores(entry.path[prefix:], is_folder):
                        if fate == VISIBLE:
                            yield entry, IGNORED_BY_DVC
                    elif not is_folder:
                        yield entry, fate
                    elif fate == VISIBLE and entry.name.startswith(".") and not _is_maildir(entry.path):
                        yield entry, HIDDEN_FOLDER
                        waiting.append((Path(entry.path), BELOW_HIDDEN))
                    else:
                        waiting.append((Path(entry.path), fate))
        except OSError as error:
            if fate == VISIBLE:
                detail = f"folder: {error.strerror}"
                refused.append(Quarantined(source_of(folder, sources), "", 0, "unreadable", detail))


def _is_maildir(folder: str) -> bool:
    with suppress(OSError):  # a hidden folder that is shut hides no more than itself
        return all(Path(folder, name).is_dir() for name in MAIL_FOLDERS)
    return False


def _list_regular(listing: Listing, entry: os.DirEntry[str], source: str) -> None:
    """Add to `listing` what an entry leads to, where that is a regular file."""
    with suppress(OSError):
        status = entry.stat()
        if stat.S_ISREG(status.st_mode):
            listing.add(source, status_in(status))


def _status(entry: os.DirEntry[str], home: Path) -> Status:
    """Return the status of a regular file. Raises `Unreadable` for anything else."""
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
    """Raise `Unreadable` for a link that must not be followed."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise Unreadable("dangling_link", "it leads nowhere: remove it, or put the file in its place") from None
    if target.is_dir():
        raise Unreadable("linked_folder", "folders are not followed through links: put the folder itself here")
    if not target.is_relative_to(home) and not DVC_CACHE.search(target.as_posix()):
        raise Unreadable("link_outside", "it leads out of the sources: put the file itself here")


def _check(path: str, size: int, max_bytes: int, extensions: Extensions, options: ReadOptions) -> None:
    """Raise `Unreadable` for a file of another format, of no bytes, or of too many."""
    reader = reader_of(path, extensions)
    if reader is None:
        raise Unreadable("unsupported", why_not_read(path, extensions))
    if is_code(reader) and not options.code:
        raise Unreadable(*NO_CODE)
    if size > max_bytes and not reader.holds_many:
        raise Unreadable("too_large", TOO_LARGE)
    if size == 0:
        raise Unreadable("empty", "no bytes")
