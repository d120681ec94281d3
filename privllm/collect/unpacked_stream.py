"""A compressed file as a stream of its bytes, which ends where it unpacks to more than is allowed."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from privllm.collect.allowance import FREE_BYTES, MAX_RATIO, TooMuch

BLOCK = 1 << 18  # bytes
ZSTD = b"\x28\xb5\x2f\xfd"


def _open_zstd(opened: BinaryIO) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(opened, "r"), "zstd")


OPEN: dict[bytes, Callable[[BinaryIO], Any]] = {  # by first bytes
    b"\x1f\x8b\x08": gzip.open,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    ZSTD: _open_zstd,
}


def unpacked(opened: BinaryIO, size: int) -> BinaryIO:
    """Return a file of so many bytes as it was before it was compressed, as it is where it is not.

    Reading raises `TooMuch`, and what the libraries raise for damage, after all that comes before.
    """
    head = opened.read(max(map(len, OPEN)))
    opened.seek(0)
    stream = next((make(opened) for first, make in OPEN.items() if head.startswith(first)), None)
    return (
        opened
        if stream is None
        else cast(BinaryIO, io.BufferedReader(_Bounded(stream, max(FREE_BYTES, MAX_RATIO * size)), BLOCK))
    )


class _Bounded(io.RawIOBase):
    """A stream with an allowance."""

    def __init__(self, stream: Any, allowance: int) -> None:
        self.stream, self.left = stream, allowance
        self.read_some = getattr(stream, "read1", stream.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read_some(min(len(buffer), BLOCK))
        self.left -= len(data)
        if self.left < 0:
            raise TooMuch
        buffer[: len(data)] = data
        return len(data)
