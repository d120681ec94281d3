"""Compressed files as streams; `readers/test_jsonl.py` tests them in each form of compression."""

import gzip
import io

import pytest

from privllm.collect import unpacked_stream
from privllm.collect.allowance import TooMuch
from privllm.collect.unpacked_stream import unpacked


def test_a_file_that_is_not_compressed_is_itself() -> None:
    opened = io.BytesIO(b"one\ntwo\n")
    assert unpacked(opened, 8) is opened
    assert opened.read() == b"one\ntwo\n"


def test_what_comes_before_too_much_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked_stream, "FREE_BYTES", 10)
    monkeypatch.setattr(unpacked_stream, "MAX_RATIO", 0)
    monkeypatch.setattr(unpacked_stream, "BLOCK", 4)
    stream = unpacked(io.BytesIO(gzip.compress(b"one\ntwo\nthree\n")), 30)
    assert (stream.readline(), stream.readline()) == (b"one\n", b"two\n")
    with pytest.raises(TooMuch):
        stream.readline()
