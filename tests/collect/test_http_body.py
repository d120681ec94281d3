"""Bodies of HTTP answers without chunks and content encodings."""

import gzip
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import Unreadable
from privllm.collect.http_body import body_of, joined

LIMIT = 10_000


@given(st.binary(max_size=200), st.integers(1, 50), st.sampled_from(["", "gzip", "deflate", "gzip, deflate"]))
def test_what_was_encoded_comes_back(body: bytes, size: int, encodings: str) -> None:
    sent = body
    for name in encodings.split(", ") if encodings else []:
        sent = gzip.compress(sent) if name == "gzip" else zlib.compress(sent)
    pieces = [sent[place : place + size] for place in range(0, len(sent), size)]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert body_of(chunked, True, encodings, LIMIT) == body


@given(st.binary(max_size=300))
def test_any_bytes_are_joined_or_left(body: bytes) -> None:
    assert len(joined(body)) <= len(body)


def test_a_body_that_is_cut_gives_what_there_is() -> None:
    assert joined(b"5\r\nabcde\r\nff\r\nfgh") == b"abcdefgh"
    packed = gzip.compress(b"The lazy fox rests. " * 100)
    assert b"The lazy fox rests. ".startswith(body_of(packed[:40], False, "gzip", LIMIT)[:20])


def test_a_body_by_brotli_that_is_cut_gives_what_there_is() -> None:
    text = b"".join(b"The lazy fox rests on hill %d. " % number for number in range(2000))
    packed = brotli.compress(text)
    unpacked = body_of(packed[: len(packed) // 2], False, "br", 1 << 20)
    assert 100 < len(unpacked) < len(text)
    assert text.startswith(unpacked)


def test_no_more_is_unpacked_than_is_allowed() -> None:
    with pytest.raises(Unreadable, match="too_large"):
        body_of(gzip.compress(bytes(LIMIT + 1)), False, "gzip", LIMIT)
