"""Bodies of HTTP answers as the page that was sent: without chunks (RFC 9112) and content encodings (RFC 9110).

Nothing is unpacked beyond a limit. A body that its headers call encoded and that is not, as some
archives keep it, is taken as it is.
"""

import re
import zlib

import brotli

from privllm.collect.documents import Unreadable

CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]{0,1000}\r?\n")
BLOCK = 1 << 20
GZIPPED = b"\x1f\x8b"
TOO_LARGE_UNPACKED = "over collect.max_megabytes when unpacked: raise the limit"
DAMAGED = "its content encoding {0} cannot be undone"


def body_of(body: bytes, is_chunked: bool, encodings: str, max_bytes: int) -> bytes:
    """Return a body decoded, of at most `max_bytes`. Raises `Unreadable`."""
    if is_chunked:
        body = joined(body)
    names = [name.strip().lower() for name in encodings.split(",")]
    for name in reversed(names):
        if name in ("", "identity", "utf-8", "none"):
            continue
        if name == "br":
            body = _unpacked_by_brotli(body, max_bytes)
        elif name in ("gzip", "x-gzip", "deflate"):
            body = _inflated(body, name, max_bytes)
        else:
            raise Unreadable("unsupported", f"the content encoding {name[:20]!r} is not read")
    return body


def joined(body: bytes) -> bytes:
    """Return the chunks of a body joined; the body itself where it has none, and what comes before damage."""
    pieces: list[bytes] = []
    place = 0
    while size := CHUNK.match(body, place):
        begin, length = size.end(), int(size[1], 16)
        if not length:
            break
        pieces.append(body[begin : begin + length])
        place = begin + length
        place += 2 if body[place : place + 2] == b"\r\n" else body[place : place + 1] == b"\n"
    return b"".join(pieces) if pieces or CHUNK.match(body) else body


def _inflated(body: bytes, name: str, max_bytes: int) -> bytes:
    """Return a body unpacked; itself where it does not begin as packed. Raises `Unreadable`."""
    is_gzip = name != "deflate"
    if is_gzip and not body.startswith(GZIPPED):
        return body
    for bits in (31,) if is_gzip else (15, -15):  # deflate with zlib's frame, and as some servers send it, without
        unpacking = zlib.decompressobj(bits)
        try:
            unpacked = unpacking.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(unpacked) > max_bytes:
            raise Unreadable("too_large", TOO_LARGE_UNPACKED)
        if unpacked or unpacking.eof:
            return unpacked
    raise Unreadable("damaged", DAMAGED.format(name))


def _unpacked_by_brotli(body: bytes, max_bytes: int) -> bytes:
    """Return a body unpacked, what comes before its end where it was cut; itself where it is plain text. Raises `Unreadable`."""
    unpacking = brotli.Decompressor()
    pieces: list[bytes] = []
    left, data = max_bytes, body
    try:
        while piece := unpacking.process(data, output_buffer_limit=BLOCK):
            pieces.append(piece)
            left -= len(piece)
            data = b""
            if left < 0:
                raise Unreadable("too_large", TOO_LARGE_UNPACKED)
    except brotli.error:
        if body.lstrip()[:1] == b"<":  # brotli has no first bytes of its own
            return body
        raise Unreadable("damaged", DAMAGED.format("br")) from None
    return b"".join(pieces)
