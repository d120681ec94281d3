"""The records of a WARC: damage between and inside them is passed over and noted, and reading goes on at the next record."""

import io
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from fastwarc.stream_io import GzipReader, ZstdReader
from fastwarc.warc import ArchiveIterator, WarcRecord

from privllm.collect.allowance import FREE_BYTES
from privllm.collect.zip_kind import DAMAGE

MAX_HEADERS = 1 << 16
MAX_PLACES = 1_000  # of damage in one archive
BLOCK = 1 << 16
GZIP = b"\x1f\x8b\x08"
ZSTD = b"\x28\xb5\x2f\xfd"
PLAIN_RECORD = re.compile(rb"(?<=\n)WARC/1\.")
GZIP_MEMBER, ZSTD_FRAME = re.compile(re.escape(GZIP)), re.compile(re.escape(ZSTD))
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
        head = opened.read(len(ZSTD))
        opened.seek(0)
        begins = {GZIP: GZIP_MEMBER, ZSTD: ZSTD_FRAME, b"WARC": PLAIN_RECORD}
        self._begin_of_record = next((pattern for first, pattern in begins.items() if head.startswith(first)), None)
        self.has_bare_ends = BARE_LINE.fullmatch(first_line(opened)) is not None

    def __iter__(self) -> Iterator[WarcRecord]:
        begin: int | None = 0
        count = known = 0  # of records in this pass, and of those that an earlier one gave
        while begin is not None:
            place, places = begin, self.places
            try:
                for record in self._from(begin):
                    place, places = record.stream_pos, self.places
                    count += 1
                    if count <= known:
                        continue
                    if not (record.headers.get("Content-Length") or "").strip().isdecimal():
                        raise ValueError("a record ends within its header")
                    yield record
                if self._is_whole(place):
                    return
                damage = "it ends within a record"
            except DAMAGE as error:
                damage = str(error) or type(error).__name__
            begin = self._next(place + 1) if self.places < MAX_PLACES else None
            if begin is None and not places and self._unpack(count):
                begin, count, known = 0, 0, count
                self.damage, self.places = "", 0  # it is met again
                continue
            self._note_end(damage, begin is not None, self.places > places)

    def _unpack(self, count: int) -> bool:
        """Go on with the unpacked bytes of an archive in one piece, in memory, where it holds more than `count` records."""
        if self._begin_of_record not in (GZIP_MEMBER, ZSTD_FRAME):
            return False
        self.opened.seek(0)
        stream = (GzipReader if self._begin_of_record is GZIP_MEMBER else ZstdReader)(self.opened)
        data = bytearray()
        with suppress(*DAMAGE):
            while len(data) <= FREE_BYTES and (piece := stream.read(BLOCK)):
                data += piece
        if len(data) > FREE_BYTES or len(PLAIN_RECORD.findall(b"\n" + data)) <= count:
            return False
        self.opened, self.size, self._begin_of_record = io.BytesIO(data), len(data), PLAIN_RECORD
        return True

    def _from(self, begin: int) -> ArchiveIterator:
        self.opened.seek(begin)
        return ArchiveIterator(
            self.opened, parse_http=False, max_header_len=MAX_HEADERS, quirks_mode=self.has_bare_ends
        )

    def _is_whole(self, place: int) -> bool:
        """Return whether the last record, which begins at a place, is as long as it says, and the last. Raises what `DAMAGE` lists."""
        if self._begin_of_record in (GZIP_MEMBER, ZSTD_FRAME) and self._next(place + 1) is not None:
            return False  # it took the begin of the next one for its own
        return all(self.measured(last, last.content_length) >= last.content_length for last in self._from(place))

    def measured(self, record: WarcRecord, limit: int) -> int:
        """Return how many bytes of a record that nobody has read are there, at most a limit and a block."""
        count = 0
        while count < limit and (piece := record.reader.read(BLOCK)):
            count += len(piece)
        return count

    def _note_end(self, damage: str, goes_on: bool, is_noted: bool) -> None:
        """Take note of how reading came to an end, which its reader may have done; a record before others said a false length."""
        if goes_on and damage.startswith("it ends"):
            damage = "a record is shorter than it says"
            if is_noted and self.places == 1:
                self.damage = damage
        if not is_noted:
            self.note(damage)

    def note(self, damage: str) -> None:
        """Take note of damage at one place."""
        self.damage = self.damage or damage[:200]
        self.places += 1

    def is_cut(self, record: WarcRecord) -> bool:
        """Return whether the archive ends within a record that nobody reads."""
        if self.opened.tell() < self.size:
            return False
        return self.measured(record, record.content_length) < record.content_length

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
            if self._begin_of_record is ZSTD_FRAME:
                return bool(ZstdReader(self.opened).read(5) == b"WARC/")
            return zlib.decompressobj(31).decompress(self.opened.read(LEAST_MEMBER), 5) == b"WARC/"
        except DAMAGE:
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
