"""Archives: ZIP, tar and single compressed files; what lies inside is read by its own reader.

Nothing is written to disk, links inside an archive are not followed, and no member is unpacked
beyond the limits: its own size, and how many times larger than the archive all members together
may be. What a damaged archive still gives is read, and the damage is a row of the quarantine.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, ClassVar, NamedTuple, cast

from privllm.collect.allowance import FREE_BYTES, MAX_RATIO, TooMuch
from privllm.collect.cut_zip import LocalMember, local_members, open_local
from privllm.collect.documents import Quarantined
from privllm.collect.parsed import About
from privllm.collect.readers.reader import TOO_LARGE, Reader, Row, not_opened
from privllm.collect.source_file import NOTHING_SAID, SourceFile
from privllm.collect.zip_kind import open_zipped, require_own_directory

BLOCK = 1 << 20
DAMAGE = (
    *(OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError),
    # What else the standard library raises for archives that were made to break it.
    *(NotImplementedError, RuntimeError, OverflowError, KeyError, IndexError),
)
Open = Callable[[BinaryIO], Any]
COMPRESSED: dict[bytes, Open] = {  # by first bytes
    b"\x1f\x8b\x08": gzip.open,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
TAR_SUFFIXES = (".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")


class Member(NamedTuple):
    """A file in an archive."""

    key: str  # its path
    size: int  # as the archive says
    open: Callable[[], BinaryIO]
    name: str = ""  # that tells its format, where the key does not
    about: About = NOTHING_SAID  # what the archive says of it


class ArchiveReader(Reader):
    """Archives and compressed files."""

    media_types: ClassVar = {
        ".zip": "application/zip",
        ".tar": "application/x-tar",
        ".tgz": "application/gzip",
        ".tbz2": "application/x-bzip2",
        ".txz": "application/x-xz",
        ".gz": "application/gzip",
        ".bz2": "application/x-bzip2",
        ".xz": "application/x-xz",
    }
    holds_many = True
    signatures = (*COMPRESSED, b"PK\x03\x04", b"PK\x05\x06")

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row | SourceFile]:
        """Yield the members, and why some, or the rest, cannot be read."""
        yield from read_members(file, max_bytes, _members)


class Allowance:
    """The bytes that one archive may still unpack to."""

    def __init__(self, total: int, max_bytes: int) -> None:
        self.left, self.max_bytes = total, max_bytes

    def read(self, opened: BinaryIO) -> bytes:
        """Return all bytes of a member, or one more than a member may have. Raises `TooMuch`."""
        blocks: list[bytes] = []
        size = 0
        while size <= self.max_bytes and (block := opened.read(BLOCK)):
            blocks.append(block)
            size += len(block)
            self.spend(len(block))
        return b"".join(blocks)

    def spend(self, count: int) -> None:
        """Take note of unpacked bytes. Raises `TooMuch`."""
        self.left -= count
        if self.left < 0:
            raise TooMuch


class _Bounded(io.RawIOBase):
    """An unpacked stream that ends where its allowance does, headers of a tar included, and gives all that comes before damage."""

    def __init__(self, stream: Any, allowance: Allowance) -> None:
        self.stream, self.left = stream, allowance.left
        self.damage: Exception | None = None

    def read(self, count: int = -1) -> bytes:
        if count > self.left:
            raise TooMuch
        if self.damage:
            raise self.damage
        data = bytearray()
        try:
            while len(data) < count and (piece := self.stream.read1(count - len(data))):
                data += piece
        except DAMAGE as error:
            if not data:
                raise
            self.damage = error
        self.left -= len(data)
        return bytes(data)


def read_members(
    file: SourceFile, max_bytes: int, members: Callable[[SourceFile, BinaryIO, Allowance], Iterator[Member]]
) -> Iterator[Row | SourceFile]:
    """Yield what `members` finds in an archive, and why some, or the rest, cannot be read."""
    is_empty = True
    try:
        with file.open() as opened:
            allowance = Allowance(max(FREE_BYTES, MAX_RATIO * file.size), max_bytes)
            for member in members(file, opened, allowance):
                is_empty = False
                yield _unpacked(file, member, allowance)
    except OSError as error:
        yield not_opened(file, error) if error.errno else _damaged(file, error)
    except TooMuch:
        detail = f"it unpacks to over {MAX_RATIO} times its size: unpack it yourself, if it is no attack"
        yield Quarantined(file.source, "", file.size, "too_much", detail)
    except DAMAGE as error:
        yield _damaged(file, error)
    else:
        if is_empty:
            yield Quarantined(file.source, "", file.size, "empty", "an archive without files")


def _unpacked(file: SourceFile, member: Member, allowance: Allowance) -> SourceFile | Quarantined:
    """Return a member with its bytes, or why they cannot be had. Raises `TooMuch`."""
    part = file.inside(member.key, b"")
    if member.size > allowance.max_bytes:
        return Quarantined(part.source, "", member.size, "too_large", TOO_LARGE)
    try:
        with member.open() as opened:
            data = allowance.read(opened)
    except DAMAGE as error:
        return Quarantined(part.source, "", member.size, _reason(error), _detail(error))
    if len(data) > allowance.max_bytes:
        return Quarantined(part.source, "", len(data), "too_large", TOO_LARGE)
    return file.inside(member.key, data, member.name, member.about)


def _members(file: SourceFile, opened: BinaryIO, allowance: Allowance) -> Iterator[Member]:
    """Yield the members of an archive by what its first bytes say; folders and links are no members."""
    head = opened.read(8)
    opened.seek(0)
    name = file.name.lower()
    magic = next((magic for magic in COMPRESSED if head.startswith(magic)), None)
    if head.startswith(b"PK") or (name.endswith(".zip") and not magic and zipfile.is_zipfile(opened)):
        yield from _members_of_zip(opened)
        return
    opened.seek(0)
    unpacked = COMPRESSED[magic](opened) if magic else opened
    if name.endswith(TAR_SUFFIXES):
        with tarfile.open(fileobj=cast(BinaryIO, _Bounded(unpacked, allowance)), mode="r|") as archive:
            yield from _members_of_tar(archive)
    elif magic is None:
        raise zipfile.BadZipFile("the first bytes are those of no archive")
    else:
        yield Member(_stem(file.name), 0, lambda: unpacked)


def _stem(name: str) -> str:
    """Return the name of what a compressed file holds."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = last.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in (".gz", ".bz2", ".xz") else last


def _members_of_zip(opened: BinaryIO) -> Iterator[Member]:
    """Yield the members of a ZIP, also behind a program that unpacks it; by their own headers where its directory is damaged."""
    try:
        archive = zipfile.ZipFile(opened)
        require_own_directory(opened, archive)
    except zipfile.BadZipFile:
        for member in local_members(opened):
            yield Member(member.name, member.size, partial(_open_local, opened, member))
        raise zipfile.BadZipFile("its directory is missing or damaged: it was cut, or is no ZIP") from None
    with archive:
        for info in archive.infolist():
            is_link = (info.external_attr >> 28) == 0xA
            if not info.is_dir() and not is_link:
                yield Member(info.filename, info.file_size, partial(open_zipped, archive, info))


def _open_local(opened: BinaryIO, member: LocalMember) -> BinaryIO:
    return cast(BinaryIO, open_local(opened, member))


def _members_of_tar(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        if info.isreg():
            yield Member(info.name, info.size, partial(_open_member, archive, info))


def _open_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> BinaryIO:
    opened = archive.extractfile(info)
    assert opened is not None, "a regular member has bytes"
    return cast(BinaryIO, opened)


def _damaged(file: SourceFile, error: Exception) -> Quarantined:
    return Quarantined(file.source, "", file.size, "damaged", _detail(error))


def _reason(error: Exception) -> str:
    """Return why a member cannot be unpacked, by what `zip_kind` and the standard library raise."""
    if "password" in str(error) or "encrypted" in str(error):
        return "encrypted"
    return "unsupported" if isinstance(error, NotImplementedError) else "damaged"


def _detail(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
