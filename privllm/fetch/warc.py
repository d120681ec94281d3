"""Web archives (WARC/1.1, ISO 28500), written record by record: each is a gzip member of its own.

A process that is killed leaves whole records and at most a part of one, which the next opening cuts off. A response
is stored without its transfer's chunks; so is its header, whose Content-Length is that of the stored body.
"""

import fcntl
import gzip
import os
import shutil
import zlib
from base64 import b32encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha1
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from privllm.core.errors import UserError
from privllm.fetch.web_request import Answer

SUFFIX = ".warc.gz"
CHUNK = 1 << 16
MAX_HEAD = 1 << 16
LEFT_OUT = {"transfer-encoding", "content-length", "connection", "keep-alive"}


class Stored(NamedTuple):
    """Where a response lies in the archive."""

    offset: int
    size: int


class Archive:
    """A WARC file that grows; `stored` says what it holds, by URL."""

    def __init__(self, path: Path, agent: str) -> None:
        """Open or make the archive. Raises UserError for another file, and where another process writes to it."""
        self.path = path
        self.stored: dict[str, Stored] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        _own_copy(path)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open(agent)
        except BlockingIOError as error:
            self.close()
            raise UserError(f"another process writes to {path}: wait for it, or name another file.") from error
        except BaseException:
            self.close()
            raise

    def _open(self, agent: str) -> None:
        end = 0
        for offset, size, data in _members(self.path):
            fields, _ = _parts(data)
            if not data.startswith(b"WARC/1."):
                raise UserError(f"{self.path} is no web archive: name another file.")
            if fields.get("warc-type") == "response":
                self.stored[fields.get("warc-target-uri", "")] = Stored(offset, size)
            end = offset + size
        os.ftruncate(self.file, end)
        os.lseek(self.file, end, os.SEEK_SET)
        if not end:
            about = f"software: {agent}\r\nformat: WARC File Format 1.1\r\nrobots: obey\r\n".encode()
            self._write(_record("warcinfo", "application/warc-fields", about, []))

    def add(self, answer: Answer) -> None:
        """Write a request and its response."""
        date = f"{answer.asked_at:%Y-%m-%dT%H:%M:%S.%fZ}"
        common = [("WARC-Target-URI", answer.url), ("WARC-Date", date), ("WARC-IP-Address", answer.address)]
        identifier = _identifier()
        kept = [(name, value) for name, value in answer.headers if name.lower() not in LEFT_OUT]
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{name}: {value}" for name, value in kept)]
        head = "\r\n".join([*lines, f"Content-Length: {len(answer.body)}", "", ""]).encode("latin-1", "replace")
        fields = [("WARC-Record-ID", identifier), *common, ("WARC-Payload-Digest", _digest(answer.body))]
        response = _record("response", "application/http; msgtype=response", head + answer.body, fields)
        also = [*common, ("WARC-Concurrent-To", identifier)]
        request = _record("request", "application/http; msgtype=request", answer.request, also)
        offset = os.lseek(self.file, 0, os.SEEK_CUR)
        size = self._write(response)
        self._write(request)
        self.stored[answer.url] = Stored(offset, size)

    def read(self, url: str) -> tuple[int, dict[str, str], bytes]:
        """Return (status, headers, body) of a stored response."""
        place = self.stored[url]
        _, block = _parts(gzip.decompress(os.pread(self.file, place.size, place.offset)))
        head, _, body = block.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        length = len(body) - len(b"\r\n\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1]), headers, body[:length]

    def _write(self, record: bytes) -> int:
        data = gzip.compress(record, mtime=0)
        left = memoryview(data)
        while left:
            left = left[os.write(self.file, left) :]
        return len(data)

    def close(self) -> None:
        os.close(self.file)


def _own_copy(path: Path) -> None:
    """Replace a link by a copy: a tracked file may share its bytes with DVC's cache."""
    if path.is_file() and (path.is_symlink() or path.stat().st_nlink > 1 or not os.access(path, os.W_OK)):
        partial = path.with_name(f".partial.{path.name}")
        shutil.copyfile(path, partial)
        partial.replace(path)


def _record(kind: str, content_type: str, block: bytes, fields: list[tuple[str, str]]) -> bytes:
    names = {name for name, _ in fields}
    head = [("WARC-Type", kind), *fields, ("Content-Type", content_type)]
    if "WARC-Record-ID" not in names:
        head.append(("WARC-Record-ID", _identifier()))
    if "WARC-Date" not in names:
        head.append(("WARC-Date", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"))
    head += [("WARC-Block-Digest", _digest(block)), ("Content-Length", str(len(block)))]
    lines = "".join(f"{name}: {value}\r\n" for name, value in head)
    return f"WARC/1.1\r\n{lines}\r\n".encode() + block + b"\r\n\r\n"


def _identifier() -> str:
    return f"<urn:uuid:{uuid4()}>"


def _digest(data: bytes) -> str:
    return f"sha1:{b32encode(sha1(data, usedforsecurity=False).digest()).decode()}"


def _parts(record: bytes) -> tuple[dict[str, str], bytes]:
    """Return a record's fields, names in lower case, and its block with the blank lines behind it."""
    head, _, block = record.partition(b"\r\n\r\n")
    fields = {}
    for line in head[:MAX_HEAD].decode("utf-8", "replace").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return fields, block


def _members(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, size, content) of each whole gzip member; a part of one at the end is passed over."""
    with path.open("rb") as file:
        offset, rest = 0, b""
        while True:
            decoder, parts, size = zlib.decompressobj(wbits=31), [], 0
            while not decoder.eof:
                data = rest or file.read(CHUNK)
                if not data:
                    return
                try:
                    parts.append(decoder.decompress(data))
                except zlib.error as error:
                    raise UserError(
                        f"{path} is no web archive, or is broken at byte {offset:,}: name another file."
                    ) from error
                rest = decoder.unused_data
                size += len(data) - len(rest)
            yield offset, size, b"".join(parts)
            offset += size
