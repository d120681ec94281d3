"""The records of a WARC: damage between and inside them is passed over and noted, and reading goes on at the next record."""

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord

from privllm.collect.zip_kind import DAMAGE

MAX_HEADERS = 1 << 16
MAX_PLACES = 1_000  # of damage in one archive
BLOCK = 1 << 16
GZIP = b"\x1f\x8b\x08"
PLAIN_RECORD, GZIP_MEMBER = re.compile(rb"(?<=\n)WARC/1\."), re.compile(re.escape(GZIP))
BARE_LINE = re.compile(rb"[^\n]*[^\r\n]\n")
LONGEST_MATCH = 8  # bytes, with the line's end before it
LEAST_MEMBER = 1 << 10  # bytes that suffice to see how a member begins
FIRST_LINE = 80  # bytes, and more than it has


class WarcRecords:
    """Yields the records of an archive."""

    def __init__(self, opened: BinaryIO, size: int) -> None:
        self.opened, self.size = opened, size
        self.damage = ""  # what is wrong first
        self.places = 0  # of damage
        head = opened.read(len(GZIP))
        opened.seek(0)
        self._begin_of_record = GZIP_MEMBER if head == GZIP else PLAIN_RECORD if head.startswith(b"WAR") else None
        self.has_bare_ends = BARE_LINE.fullmatch(first_line(opened)) is not None

    def __iter__(self) -> Iterator[WarcRecord]:
        begin: int | None = 0
        while begin is not None:
            place = begin
            self.opened.seek(begin)
            try:
                for record in ArchiveIterator(
                    self.opened, parse_http=False, max_header_len=MAX_HEADERS, quirks_mode=self.has_bare_ends
                ):
                    place = record.stream_pos
                    if not (record.headers.get("Content-Length") or "").strip().isdecimal():
                        raise ValueError("a record ends within its header")
                    yield record
                return
            except DAMAGE as error:
                self.note(str(error) or type(error).__name__)
            begin = self._next(place + 1) if self.places < MAX_PLACES else None

    def note(self, damage: str) -> None:
        """Take note of damage at one place."""
        self.damage = self.damage or damage[:200]
        self.places += 1

    def is_cut(self, record: WarcRecord) -> bool:
        """Return whether the archive ends within a record that nobody reads."""
        if self.opened.tell() < self.size:
            return False
        left = record.content_length
        while left > 0 and (piece := record.reader.read(BLOCK)):
            left -= len(piece)
        return left > 0

    def _next(self, place: int) -> int | None:
        """Return where the next record, or compressed member with one, begins; None where there is none."""
        if self._begin_of_record is None:
            return None
        self.opened.seek(place)
        block = self.opened.read(BLOCK)
        while len(block) >= LONGEST_MATCH:
            for match in self._begin_of_record.finditer(block):
                if self._begin_of_record is PLAIN_RECORD or self._holds_record(place + match.start()):
                    return place + match.start()
            place += len(block) - LONGEST_MATCH + 1
            self.opened.seek(place)
            block = self.opened.read(BLOCK)
        return None

    def _holds_record(self, place: int) -> bool:
        self.opened.seek(place)
        try:
            return zlib.decompressobj(31).decompress(self.opened.read(LEAST_MEMBER), 5) == b"WARC/"
        except zlib.error:
            return False


def first_line(opened: BinaryIO) -> bytes:
    """Return the first line of an archive, plain or compressed by gzip, cut to a limit; nothing of another, or of a damaged one."""
    head = opened.read(LEAST_MEMBER)
    opened.seek(0)
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(31).decompress(head, FIRST_LINE)
        except zlib.error:
            return b""
    return head[: head.find(b"\n", 0, FIRST_LINE) + 1] or head[:FIRST_LINE]
