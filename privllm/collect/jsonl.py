"""JSON lines: one document a line, its text under the key `text`.

Other keys are left alone. A line is its own document with its own id (`file.jsonl#12`), so a bad one is refused by
itself and the others go on. At most one line is in memory.
"""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import orjson

from privllm.collect.decode import MARKS, WIDE, Unreadable, decode, detect, strict
from privllm.collect.files import Document, Refused, size_or_zero, source_of
from privllm.core.records import document_id
from privllm.core.seed import digest

PROBE_BYTES = 1 << 20  # how far into a file that is not UTF-8 its encoding is looked for
SKIP_BYTES = 1 << 20


class Readline(Protocol):
    def readline(self, limit: int, /) -> bytes: ...


class Line(NamedTuple):
    number: int  # from 1
    data: bytes  # without its end; cut to the limit where `bytes` is more
    bytes: int


def read_jsonl(path: Path, sources: Path, max_bytes: int) -> Iterator[Document | Refused]:
    """What every line that is not blank holds: a document, or why it is none."""
    source = source_of(path, sources)
    try:
        with path.open("rb") as file:
            encoding = _encoding(file.read(PROBE_BYTES))
            file.seek(0)
            for line in lines(_Recoded(file, encoding) if encoding in WIDE else file, max_bytes):
                if line.data and not line.data.isspace():
                    yield _document(line, f"{source}#{line.number}", encoding, max_bytes)
    except OSError as error:
        yield Refused(source, "", size_or_zero(path), "unreadable", error.strerror or "cannot be opened")


def lines(stream: Readline, max_bytes: int) -> Iterator[Line]:
    """Lines ended by "\\n"; one longer than `max_bytes` is passed over in pieces, its length counted."""
    number = 0
    while data := stream.readline(max_bytes + 1):
        number += 1
        length = len(data)
        ended = data.endswith(b"\n")
        while not ended and (more := stream.readline(SKIP_BYTES)):
            length += len(more)
            ended = more.endswith(b"\n")
        yield Line(number, data.removesuffix(b"\n").removeprefix(codecs.BOM_UTF8 if number == 1 else b""), length - ended)


class _Recoded:
    """A file in UTF-16 or UTF-32 that reads as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self.text = io.TextIOWrapper(file, encoding, errors="replace", newline="\n")

    def readline(self, limit: int) -> bytes:
        return self.text.readline(limit).removeprefix("\ufeff").encode()


def _encoding(head: bytes) -> str:
    """What a file's first bytes are in. JSON is UTF-8 (RFC 8259), but spreadsheets and shells write others."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    whole_lines = head[: head.rfind(b"\n") + 1] or head
    return "utf-8" if strict(whole_lines, "utf-8") is not None else detect(whole_lines) or "utf-8"


def _document(line: Line, source: str, encoding: str, max_bytes: int) -> Document | Refused:
    try:
        if line.bytes > max_bytes:
            raise Unreadable("too_large", "over collect.max_megabytes: split it, or raise the limit")
        value, used = _parse(line.data, encoding)
        text = value.get("text") if isinstance(value, dict) else None
        if not isinstance(text, str):
            raise Unreadable("no_text", "the line must be a JSON object with a string under `text`")
        if not text or text.isspace():
            raise Unreadable("empty", "nothing but white space")
    except Unreadable as why:
        known = digest(line.data) if line.bytes <= max_bytes else ""
        return Refused(source, known, line.bytes, why.reason, why.detail)
    return Document(document_id(source), source, "text/plain", used, digest(line.data), text)


def _parse(data: bytes, encoding: str) -> tuple[Any, str]:
    """A line's value and the codec it was read with: UTF-8, else the whole file's, else its own."""
    try:
        try:
            return orjson.loads(data), encoding if encoding in WIDE else "utf-8"
        except orjson.JSONDecodeError:
            if strict(data, "utf-8") is not None:
                raise
        text = strict(data, encoding)
        text, used = decode(data) if text is None else (text, codecs.lookup(encoding).name)
        return orjson.loads(text), used
    except orjson.JSONDecodeError as error:
        raise Unreadable("bad_json", str(error)) from None
