"""A ZIP file without its directory, which stands at the end and is lost where the file is cut: members by their own headers."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from privllm.collect.zip_kind import LOCAL_HEADER, require_known

HEADER = struct.Struct("<4sHHHHHIIIHH")
SIZE_FOLLOWS, IS_UTF8 = 1 << 3, 1 << 11  # of the flags
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
ZIP64 = 0xFFFFFFFF  # for a size that stands elsewhere
SEARCHED, BLOCK = 1 << 12, 1 << 16


class LocalMember(NamedTuple):
    """A member by the header before its bytes."""

    name: str
    flags: int
    method: int
    checksum: int
    packed_size: int  # 0 where it is not told
    size: int  # 0 where it is not told
    begin: int  # of its bytes


def local_members(opened: BinaryIO) -> Iterator[LocalMember]:
    """Yield the files of an archive whose headers are whole; links cannot be told from files."""
    place = _next_header(opened, 0)
    while place is not None:
        opened.seek(place)
        header = opened.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        _, _, flags, method, _, _, checksum, packed_size, size, name_size, extra_size = HEADER.unpack(header)
        name = opened.read(name_size).decode("utf-8" if flags & IS_UTF8 else "cp437", "replace")
        begin = place + HEADER.size + name_size + extra_size
        packed_size, size = (0, 0) if ZIP64 in (packed_size, size) else (packed_size, size)
        if name and not name.endswith("/"):
            yield LocalMember(name, flags, method, checksum, packed_size, size, begin)
        place = _next_header(opened, begin + packed_size)


def open_local(opened: BinaryIO, member: LocalMember) -> "UnpackedMember":
    """Return the bytes of a member. Raises RuntimeError for one with a password, NotImplementedError for one that cannot be unpacked."""
    require_known(member.flags, member.method)
    if member.method not in (STORED, DEFLATED):
        raise NotImplementedError("its compression is read only where the archive is whole")
    if member.method == STORED and member.flags & SIZE_FOLLOWS:
        raise NotImplementedError("where it ends stood in the directory of the archive, which is missing")
    return UnpackedMember(opened, member)


class UnpackedMember:
    """The bytes of a member, to be read once."""

    def __init__(self, opened: BinaryIO, member: LocalMember) -> None:
        self.opened, self.member = opened, member
        self.place, self.checksum = member.begin, 0
        self.left = member.packed_size or (None if member.flags & SIZE_FOLLOWS else 0)
        self.inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == DEFLATED else None

    def __enter__(self) -> "UnpackedMember":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, count: int) -> bytes:
        """Return up to so many bytes, none at the end. Raises EOFError where the archive ends before, BadZipFile for damage."""
        data = self._packed(count) if self.inflate is None else self._inflated(self.inflate, count)
        self.checksum = zlib.crc32(data, self.checksum)
        if not data and not self.member.flags & SIZE_FOLLOWS and self.checksum != self.member.checksum:
            raise zipfile.BadZipFile("its bytes are not those that its checksum is of")
        return data

    def _inflated(self, inflate: "zlib._Decompress", count: int) -> bytes:
        while not inflate.eof:
            data = inflate.decompress(inflate.unconsumed_tail or self._packed(BLOCK), count)
            if data:
                return data
        return b""

    def _packed(self, count: int) -> bytes:
        """Return bytes as they stand in the archive. Raises EOFError where it ends before."""
        wanted = count if self.left is None else min(count, self.left)
        self.opened.seek(self.place)
        block = self.opened.read(wanted)
        if not block and (wanted or self.inflate):
            raise EOFError("the archive ends within it")
        self.place += len(block)
        self.left = None if self.left is None else self.left - len(block)
        return block


def _next_header(opened: BinaryIO, place: int) -> int | None:
    """Return where the next member's header begins, None where there is none."""
    opened.seek(place)
    block = opened.read(SEARCHED)
    while len(block) >= len(LOCAL_HEADER):
        found = block.find(LOCAL_HEADER)
        if found >= 0:
            return place + found
        place += len(block) - len(LOCAL_HEADER) + 1
        opened.seek(place)
        block = opened.read(SEARCHED)
    return None
