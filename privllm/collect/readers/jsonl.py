"""JSON lines: one document a line, its text under the key `text` (or what `collect.text_key` says).

Other keys are left alone. A line is its own document with its own id (`file.jsonl#12`), so a bad
line is refused by itself and the next ones are read. At most one line is in memory, also of a
compressed file, whose lines before damage are read.
"""

import codecs
import io
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, ClassVar, NamedTuple, Protocol

import orjson

from privllm.collect.allowance import MAX_RATIO, TooMuch
from privllm.collect.decode import MARKS, WIDE, decode, detect, strict
from privllm.collect.documents import CollectedDocument, Quarantined, Unreadable
from privllm.collect.readers.reader import TOO_LARGE, Reader, not_opened, require_text
from privllm.collect.source_file import SourceFile
from privllm.collect.unpacked_stream import unpacked
from privllm.collect.zip_kind import DAMAGE
from privllm.core.records import document_id
from privllm.core.seed import digest

JSONL, PACKED = "application/jsonl", "application/x-compressed-jsonl"
PROBE_BYTES = 1 << 20  # how far into a file that is not UTF-8 its encoding is looked for
SKIP_BYTES = 1 << 20


class JsonlReader(Reader):
    """Files of JSON objects, one a line."""

    media_types: ClassVar = {
        ".jsonl": JSONL,
        **dict.fromkeys((".jsonl.gz", ".jsonl.bz2", ".jsonl.xz", ".jsonl.zst"), PACKED),
    }
    holds_many = True

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[CollectedDocument | Quarantined]:
        """Yield `read_jsonl`, and a reason where all lines are blank."""
        is_blank = True
        for row in read_jsonl(file, max_bytes):
            is_blank = False
            yield row
        if is_blank:
            yield Quarantined(file.source, "", file.size, "empty", "nothing but blank lines")


class Readline(Protocol):
    """A stream of bytes that is read line by line."""

    def readline(self, limit: int, /) -> bytes: ...


class JsonLine(NamedTuple):
    """A line of a file."""

    number: int  # from 1
    data: bytes  # without its end; cut to the limit where `bytes` is more
    bytes: int


def read_jsonl(file: SourceFile, max_bytes: int) -> Iterator[CollectedDocument | Quarantined]:
    """Yield for each line that is not blank its document, or why it is none."""
    try:
        encoding = _encoding_of(file)
        with file.open() as opened:
            unpacked_file = unpacked(opened, file.size)
            stream = _Recoded(unpacked_file, encoding) if encoding in WIDE else unpacked_file
            for line in read_lines(stream, max_bytes):
                if line.data and not line.data.isspace():
                    yield _document(line, f"{file.source}#{line.number}", encoding, max_bytes, file.options.text_key)
    except TooMuch:
        detail = f"it unpacks to over {MAX_RATIO} times its size: unpack it yourself, if it is no attack"
        yield Quarantined(file.source, "", file.size, "too_much", detail)
    except DAMAGE as error:
        yield not_opened(file, error) if isinstance(error, OSError) and error.errno else _damaged(file, error)


def _encoding_of(file: SourceFile) -> str:
    """Return the encoding of a file's first bytes. Raises OSError; damage is found again where it lies."""
    with file.open() as opened:
        stream = unpacked(opened, file.size)
        if stream is opened:
            return encoding_of(opened.read(PROBE_BYTES))
        head = b""
        with suppress(*DAMAGE):
            while len(head) < PROBE_BYTES and (piece := stream.read1(PROBE_BYTES)):  # type: ignore[attr-defined]
                head += piece
        return encoding_of(head)


def _damaged(file: SourceFile, error: Exception) -> Quarantined:
    return Quarantined(file.source, "", file.size, "damaged", str(error)[:200] or type(error).__name__)


def read_lines(stream: Readline, max_bytes: int) -> Iterator[JsonLine]:
    """Yield lines; of a line over `max_bytes` the rest is skipped and counted."""
    number = 0
    while data := stream.readline(max_bytes + 1):
        number += 1
        length, has_end = len(data), data.endswith(b"\n")
        if not has_end:
            skipped, has_end = _skip_line(stream)
            length += skipped
        data = data.removesuffix(b"\n")
        if number == 1:
            data = data.removeprefix(codecs.BOM_UTF8)
        yield JsonLine(number, data, length - has_end)


def _skip_line(stream: Readline) -> tuple[int, bool]:
    """Read on to the end of a line; return the number of bytes, and whether they end with "\\n"."""
    length = 0
    while piece := stream.readline(SKIP_BYTES):
        length += len(piece)
        if piece.endswith(b"\n"):
            return length, True
    return length, False


class _Recoded:
    """A file in UTF-16 or UTF-32 that reads as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self.text = io.TextIOWrapper(file, encoding, errors="replace", newline="\n")

    def readline(self, limit: int) -> bytes:
        return self.text.readline(limit).removeprefix("\ufeff").encode()


def encoding_of(head: bytes) -> str:
    """Return the encoding of a file's first bytes: UTF-8 (RFC 8259), or what spreadsheets write."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    whole_lines = head[: head.rfind(b"\n") + 1] or head
    if strict(whole_lines, "utf-8") is not None:
        return "utf-8"
    return detect(whole_lines) or "utf-8"


def _document(
    line: JsonLine, source: str, encoding: str, max_bytes: int, text_key: str
) -> CollectedDocument | Quarantined:
    is_whole = line.bytes <= max_bytes
    try:
        if not is_whole:
            raise Unreadable("too_large", TOO_LARGE)
        value, used_encoding = _parse(line.data, encoding)
        text = text_of(value, text_key, "line")
    except Unreadable as refusal:
        data_digest = digest(line.data) if is_whole else ""
        return Quarantined(source, data_digest, line.bytes, refusal.reason, refusal.detail)
    return CollectedDocument(document_id(source), source, "text/plain", used_encoding, digest(line.data), text)


def text_of(value: Any, text_key: str, what: str) -> str:
    """Return the text of a JSON value. Raises `Unreadable`.

    what: a word for it, such as "line".
    """
    text = value.get(text_key) if isinstance(value, dict) else None
    if not isinstance(text, str):
        detail = f"the {what} must be a JSON object with a string under {text_key!r} (collect.text_key)"
        names = [name for name, member in value.items() if isinstance(member, str)] if isinstance(value, dict) else []
        raise Unreadable("no_text", f"{detail}; it has strings under {shown(names)}" if names else detail)
    require_text(text)
    return text


def shown(names: list[str]) -> str:
    """Return the first of some names, for messages."""
    listed = ", ".join(name[:40] for name in names[:12])
    return f"{listed} ..." if len(names) > 12 else listed


def _parse(data: bytes, encoding: str) -> tuple[Any, str]:
    """Return a line's value and its codec: UTF-8, else the whole file's, else the line's own."""
    try:
        return orjson.loads(data), encoding if encoding in WIDE else "utf-8"
    except orjson.JSONDecodeError as error:
        if strict(data, "utf-8") is not None:
            raise Unreadable("bad_json", str(error)) from None
    text = strict(data, encoding)
    if text is None:
        text, used_encoding = decode(data)
    else:
        used_encoding = codecs.lookup(encoding).name
    try:
        return orjson.loads(text), used_encoding
    except orjson.JSONDecodeError as error:
        raise Unreadable("bad_json", str(error)) from None
