"""Web archives: WARC and ARC, plain or compressed; every page that was answered with status 200 is a file inside it.

In a WET file each text (a record `conversion`) is a document; the metadata of a WAT file are passed over and counted.
A page is named by its address. HTTP headers, chunks and content encodings are taken off, and a
charset that only the headers name is written into the bytes. Requests, metadata and revisits are
the archive's own; redirects, errors and partial answers are passed over and counted. What a damaged
archive still gives is read, and the damage is a row of the quarantine.
"""

import codecs
import mimetypes
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, ClassVar, NamedTuple
from urllib.parse import urlsplit

from fastwarc.stream_io import GzipReader
from fastwarc.warc import WarcRecord, WarcRecordType

from privllm.collect.decode import MARKS, SUPERSETS, strict
from privllm.collect.documents import PassedOver, Quarantined, Unreadable
from privllm.collect.http_body import body_of
from privllm.collect.readers.archive import DAMAGE, FREE_BYTES, MAX_RATIO
from privllm.collect.readers.reader import TOO_LARGE, Reader, Row, not_opened
from privllm.collect.source_file import SourceFile
from privllm.collect.warc_records import MAX_HEADERS, WarcRecords, first_line

WARC, ARC = "application/warc", "application/x-internet-archive"
WITH_PAGES = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
OWN_ADDRESSES = ("filedesc:", "dns:", "warcinfo:")  # of what a crawler notes
BLOCK = 1 << 16  # larger ones cost page faults, smaller ones calls
SUFFIXES = {  # by media type; the others are looked up
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "text/plain": ".txt",
    "application/pdf": ".pdf",
    "message/rfc822": ".eml",
}
UNTOLD = ("", "application/octet-stream", "application/force-download", "binary/octet-stream", "unk")
PLAIN_ARC_LINE = re.compile(rb"([^ \r\n]+) ([^ ]+) (\d{8,14}) ([^ ]+) (\d+)\r?\n")
ARC_LINE = re.compile(rb"(\S.*?) (\S+) (\d{8,14}) (\S+)(?: \S+ \S+ \S+ \S+ \S+)?? (\d+)\r?\n")
# Both begin with a character that is looked for fast.
END_OF_HEADERS = re.compile(rb"\n\r?\n")
NEXT_RECORD = re.compile(rb"(?:\r?\n){2}WARC/1\.\d\r?\n")
HEADER = re.compile(rb"\n(content-type|content-encoding|transfer-encoding):([^\r\n]*)", re.IGNORECASE)
CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s;"',]{1,40})""", re.IGNORECASE)
STATUS = re.compile(rb"HTTP/\d[.\d]*\s+(\d{3})\b")


class _Answer(NamedTuple):
    """What a server sent for an address, or what a crawler kept as a file."""

    address: str
    status: int
    media_type: str
    charset: str
    encodings: str  # as the header Content-Encoding names them
    is_chunked: bool
    body: bytes
    is_whole: bool


class _Blocks:
    """A stream of bytes, read in blocks; the standard library's buffers would copy each byte once more."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.block, self.place = b"", 0

    def readline(self, limit: int) -> bytes:
        """Return a line with its end, cut to a limit."""
        while not (end := self.block.find(b"\n", self.place, self.place + limit) + 1):
            if len(self.block) - self.place >= limit or not (piece := self.stream.read(BLOCK)):
                end = min(len(self.block), self.place + limit)
                break
            self.block, self.place = self.block[self.place :] + piece, 0
        line = self.block[self.place : end]
        self.place = end
        return line

    def read_to(self, end: re.Pattern[bytes], limit: int) -> bytes:
        """Return what comes before the end of a match, all within a limit where there is none."""
        while not (match := end.search(self.block, self.place, self.place + limit)):
            if len(self.block) - self.place >= limit or not (piece := self.stream.read(BLOCK)):
                return self.read(min(limit, len(self.block) - self.place))
            self.block, self.place = self.block[self.place :] + piece, 0
        return self.read(match.end() - self.place)

    def read(self, count: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        begin, self.place = self.place, self.place + count
        missing = self.place - len(self.block)
        if missing <= 0:
            return self.block[begin : self.place]
        pieces = [self.block[begin:]]
        while missing > 0 and (piece := self.stream.read(BLOCK)):
            pieces.append(piece)
            missing -= len(piece)
        self.block, self.place = pieces[-1], len(pieces[-1]) + min(missing, 0)
        pieces[-1] = pieces[-1][: self.place]
        return b"".join(pieces)


class WarcReader(Reader):
    """Web archives."""

    media_types: ClassVar = {
        ".warc": WARC,
        ".wet": WARC,
        ".wat": WARC,
        ".warc.gz": WARC,
        ".wet.gz": WARC,
        ".wat.gz": WARC,
        ".warc.zst": WARC,
        ".arc": ARC,
        ".arc.gz": ARC,
    }
    holds_many = True
    signatures = (b"WARC/1.", b"filedesc://")

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row | SourceFile]:
        """Yield the pages, and why some, or the rest, cannot be read."""
        found = False
        try:
            with file.open() as opened:
                for row in _rows(file, opened, max_bytes):
                    found = True
                    yield row
        except OSError as error:
            yield not_opened(file, error) if error.errno else _damaged(file, error)
        except DAMAGE as error:
            yield _damaged(file, error)
        else:
            if not found:
                yield Quarantined(file.source, "", file.size, "empty", "a web archive without pages")


def _rows(file: SourceFile, opened: BinaryIO, max_bytes: int) -> Iterator[Row | SourceFile]:
    """Yield the pages of an archive, a WARC or an ARC by its first bytes. Raises what `DAMAGE` lists."""
    head = opened.read(4)
    opened.seek(0)
    is_zstd = head == b"\x28\xb5\x2f\xfd" or file.name.lower().endswith(".zst")
    if not is_zstd and first_line(opened).startswith(b"filedesc://"):
        yield from _rows_of_arc(file, opened, max_bytes)
    else:
        yield from _rows_of_warc(file, opened, max_bytes)


def _rows_of_warc(file: SourceFile, opened: BinaryIO, max_bytes: int) -> Iterator[Row | SourceFile]:
    left = _allowed(file)
    records = WarcRecords(opened, file.size)
    kinds = WITH_PAGES | WarcRecordType.metadata if file.name.lower().endswith((".wat", ".wat.gz")) else WITH_PAGES
    for record in records:
        if not record.record_type & kinds:
            if records.is_cut(record):
                records.note(f"it ends within {record.record_id or 'a record'}")
            continue
        address = (record.headers.get("WARC-Target-URI") or "").strip("<> ") or record.record_id or "record"
        if record.content_length > left:
            left -= records.measured(record, left + 1)
            if left < 0:
                yield _too_much(file)
                return
            yield Quarantined(
                file.source_inside(address), "", 0, "damaged", "it says a length that the archive has not"
            )
            continue
        left -= record.content_length
        try:
            yield from _rows_of_record(file, record, address, records, max_bytes)
        except DAMAGE as error:  # the next record's turn notes it for the archive
            source = file.source_inside(address)
            yield Quarantined(source, "", record.content_length, "damaged", str(error)[:200] or type(error).__name__)
    if records.places:
        more = f" (and at {records.places - 1} more places)" if records.places > 1 else ""
        yield Quarantined(file.source, "", file.size, "damaged", records.damage + more)


def _rows_of_record(
    file: SourceFile, record: WarcRecord, address: str, records: WarcRecords, max_bytes: int
) -> Iterator[Row | SourceFile]:
    """Yield the page of a record, or why it is none. Raises what `DAMAGE` lists."""
    if address.startswith(OWN_ADDRESSES):
        return
    if record.is_http:
        record.parse_http(quirks_mode=records.has_bare_ends)
    has_failed = record.is_http and (record.http_headers is None or record.http_headers.status_code != 200)
    if record.record_type == WarcRecordType.metadata or has_failed:
        if records.is_cut(record):
            records.note(f"it ends within {address[:200]}")
        else:
            yield PassedOver(file.source_inside(address))
    elif record.content_length > max_bytes:
        size = record.content_length
        if records.is_cut(record):
            records.note(f"it ends within {address[:200]}")
        yield Quarantined(file.source_inside(address), "", size, "too_large", TOO_LARGE)
    else:
        answer = _answer_in(record, address)
        if not answer.is_whole:
            records.note(f"it ends within {address[:200]}")
        if answer.is_whole or answer.body:
            yield _page(file, answer, max_bytes)


def _answer_in(record: WarcRecord, address: str) -> _Answer:
    expected = record.content_length
    body = record.reader.read()
    is_whole = len(body) >= expected
    if not is_whole:  # it said a false length, or the archive was cut
        body = NEXT_RECORD.split(body, maxsplit=1)[0]
    headers = record.http_headers
    if not record.is_http or headers is None:
        kind = _media_type(record.headers.get("Content-Type") or "")
        return _Answer(address, 200, *kind, "", False, body, is_whole)
    kind = _media_type(headers.get("Content-Type") or "")
    encodings = headers.get("Content-Encoding") or ""
    is_chunked = "chunked" in (headers.get("Transfer-Encoding") or "").lower()
    return _Answer(address, 200, *kind, encodings, is_chunked, body, is_whole)


def _rows_of_arc(file: SourceFile, opened: BinaryIO, max_bytes: int) -> Iterator[Row | SourceFile]:
    left = _allowed(file)
    stream = _unzipped(opened)
    while line := stream.readline(MAX_HEADERS):
        if not line.strip():
            continue
        header = PLAIN_ARC_LINE.fullmatch(line) or ARC_LINE.fullmatch(line)
        if header is None:
            raise ValueError("a line where an ARC names its next page is none")
        address, size = header[1].decode("utf-8", "backslashreplace"), int(header[5])
        left -= size
        if left < 0:
            yield _too_much(file)
            return
        if size > max_bytes:
            _skip(stream, size)
            yield Quarantined(file.source_inside(address), "", size, "too_large", TOO_LARGE)
        elif address.startswith(OWN_ADDRESSES):
            stream.read(size)
        else:
            answer = _answer_in_arc(stream, size, address, header[4].decode("latin-1"))
            yield PassedOver(file.source_inside(address)) if answer.status != 200 else _page(file, answer, max_bytes)
            if not answer.is_whole:
                yield _cut(file, answer)
                return


def _answer_in_arc(stream: _Blocks, size: int, address: str, media_type: str) -> _Answer:
    """Return an answer as an ARC keeps it: with its HTTP headers, or without them where it did not come by HTTP."""
    head = stream.read_to(END_OF_HEADERS, min(size, MAX_HEADERS))
    body = stream.read(size - len(head))
    is_whole = len(head) + len(body) == size
    status = STATUS.match(head)
    if status is None:
        return _Answer(address, 200, *_media_type(media_type), "", False, head + body, is_whole)
    headers = {name.lower(): value.decode("latin-1").strip() for name, value in HEADER.findall(head)}
    kind = _media_type(headers.get(b"content-type", media_type))
    is_chunked = "chunked" in headers.get(b"transfer-encoding", "").lower()
    encodings = headers.get(b"content-encoding", "")
    return _Answer(address, int(status[1]), *kind, encodings, is_chunked, body, is_whole)


def _page(file: SourceFile, answer: _Answer, max_bytes: int) -> SourceFile | Quarantined:
    """Return an answer as a file, or why it is none."""
    try:
        body = body_of(answer.body, answer.is_chunked, answer.encodings, max_bytes)
    except Unreadable as refusal:
        source = file.source_inside(answer.address)
        return Quarantined(source, "", len(answer.body), refusal.reason, refusal.detail)
    return file.inside(answer.address, _with_charset(body, answer.charset), _name_of(answer))


def _name_of(answer: _Answer) -> str:
    """Return a name whose suffix tells the format: that of the media type, else of the address."""
    is_untold = answer.media_type in UNTOLD
    suffix = SUFFIXES.get(answer.media_type) or mimetypes.guess_extension(answer.media_type)
    if suffix and not is_untold:
        return f"page{suffix}"
    last = path_of_address(answer.address).rpartition("/")[2]  # costs more than all before
    if is_untold:
        return last or "page.html"
    return last if "." in last else f"page.{answer.media_type.rpartition('/')[2][:20]}"


def path_of_address(address: str) -> str:
    """Return the path of an address, "" where it has none or is no address."""
    with suppress(ValueError):
        return urlsplit(address).path
    return ""


def _media_type(header: str) -> tuple[str, str]:
    """Return media type and charset of a header Content-Type."""
    kind, _, parameters = header.partition(";")
    charset = CHARSET.search(parameters)
    return kind.strip().lower(), charset[1] if charset else ""


def _with_charset(body: bytes, charset: str) -> bytes:
    """Return a body in UTF-8 with a byte order mark where the headers' charset says more than its bytes do."""
    if not charset or body.startswith(tuple(mark for mark, _ in MARKS)):
        return body
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return body
    name = SUPERSETS.get(name, name)
    is_wide = name.startswith(("iso2022", "utf-16", "utf-32"))
    if name == "utf-8" or (not is_wide and (body.isascii() or strict(body, "utf-8") is not None)):
        return body
    text = strict(body, name)
    return body if not isinstance(text, str) else codecs.BOM_UTF8 + text.encode("utf-8", "replace")


def _unzipped(opened: BinaryIO) -> _Blocks:
    head = opened.read(2)
    opened.seek(0)
    # Three times as fast as the standard library's on many small members.
    return _Blocks(GzipReader(opened) if head == b"\x1f\x8b" else opened)


def _skip(stream: _Blocks, count: int) -> None:
    while count > 0 and (piece := stream.read(min(count, 1 << 20))):
        count -= len(piece)


def _allowed(file: SourceFile) -> int:
    """Return the bytes that an archive may unpack to."""
    return max(FREE_BYTES, MAX_RATIO * file.size)


def _cut(file: SourceFile, answer: _Answer) -> Quarantined:
    return Quarantined(file.source, "", file.size, "damaged", f"it ends within {answer.address[:200]}")


def _too_much(file: SourceFile) -> Quarantined:
    detail = f"it unpacks to over {MAX_RATIO} times its size: unpack it yourself, if it is no attack"
    return Quarantined(file.source, "", file.size, "too_much", detail)


def _damaged(file: SourceFile, error: Exception) -> Quarantined:
    return Quarantined(file.source, "", file.size, "damaged", str(error)[:200] or type(error).__name__)
