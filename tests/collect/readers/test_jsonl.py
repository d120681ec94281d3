import bz2
import gzip
import io
import json
import lzma
from functools import partial
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect import unpacked_stream
from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.readers.jsonl import read_jsonl, read_lines
from privllm.collect.source_file import ReadOptions, SourceFile
from privllm.core.records import document_id
from tests.collect.readers.test_archive import zipped

LIMIT = 200


def read(tmp_path: Path, data: bytes) -> list[CollectedDocument | Quarantined]:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    return list(read_jsonl(SourceFile.at(path, tmp_path), LIMIT))


def test_one_document_a_line_numbered_from_one(tmp_path: Path) -> None:
    rows = read(tmp_path, b'{"text": "one", "id": "x", "url": "y"}\r\n\n{"text": "two \\u00e9"}')
    assert [(row.source, row.text, row.media_type) for row in rows if isinstance(row, CollectedDocument)] == [
        ("a.jsonl#1", "one", "text/plain"),
        ("a.jsonl#3", "two é", "text/plain"),
    ]
    assert next(row.id for row in rows if isinstance(row, CollectedDocument)) == document_id("a.jsonl#1")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{oops", "bad_json"),
        (b'{"text": "\\ud800"}', "bad_json"),
        (b'{"text": NaN}', "bad_json"),
        (b"[" * 150, "bad_json"),
        (b'["text"]', "no_text"),
        (b'{"text": 5}', "no_text"),
        (b'{"body": "x"}', "no_text"),
        (b'{"text": " \\n"}', "empty"),
        (b'{"text": "' + b"x" * LIMIT + b'"}', "too_large"),
        (b'{"text": "a\0b\0"}', "bad_json"),
        (b"\0\xff\0\xff", "bad_json"),
    ],
)
def test_a_bad_line_is_refused_and_the_next_goes_on(tmp_path: Path, line: bytes, reason: str) -> None:
    rows = read(tmp_path, line + b'\n{"text": "fine"}\n')
    assert [row.reason for row in rows if isinstance(row, Quarantined)] == [reason]
    assert [(row.source, row.text) for row in rows if isinstance(row, CollectedDocument)] == [("a.jsonl#2", "fine")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "cp1251", "cp932"])
def test_other_encodings_than_utf8(tmp_path: Path, encoding: str) -> None:
    texts = (
        ["これは日本語の文章です。判定できるか。"] * 3
        if encoding == "cp932"
        else ["Съешь же ещё этих мягких французских булок"] * 3
    )
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    data = (mark + "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)).encode(encoding)
    assert [row.text for row in read(tmp_path, data) if isinstance(row, CollectedDocument)] == texts


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    rows = list(read_jsonl(SourceFile.at(tmp_path / "gone.jsonl", tmp_path), LIMIT))
    assert [(row.source, row.reason) for row in rows if isinstance(row, Quarantined)] == [("gone.jsonl", "unreadable")]


@given(
    st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=8),
    st.integers(1, 50),
    st.booleans(),
)
def test_lines_split_as_split_does_and_hold_no_more_than_the_limit(parts: list[bytes], limit: int, ended: bool) -> None:
    data = b"\n".join(parts) + (b"\n" if ended else b"")
    expected = data.removesuffix(b"\n").split(b"\n") if data else []
    found = list(read_lines(io.BytesIO(data), limit))
    assert [line.bytes for line in found] == [len(part) for part in expected]
    assert all(len(line.data) <= limit + 1 for line in found)
    for line, part in zip(found[1:], expected[1:], strict=True):
        assert line.data == part or line.bytes > limit


def test_the_text_may_stand_under_another_key(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "not this", "body": "this"}\n{"text": "other", "title": "x"}\n')
    rows = read_jsonl(SourceFile.at(path, tmp_path, ReadOptions(text_key="body")), LIMIT)
    good, bad = rows
    assert isinstance(good, CollectedDocument)
    assert good.text == "this"
    assert isinstance(bad, Quarantined)
    assert "'body' (collect.text_key); it has strings under text, title" in bad.detail


PACKERS = {
    "a.jsonl.gz": gzip.compress,
    "a.jsonl.bz2": bz2.compress,
    "a.jsonl.xz": lzma.compress,
    "a.jsonl.zst": partial(pa.compress, codec="zstd", asbytes=True),
}
LINES = b"".join(json.dumps({"text": f"Pier {number}"}).encode() + b"\n" for number in range(5000))


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_compressed_file_is_read_line_by_line_whatever_its_size(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(PACKERS[name](LINES.decode().encode(encoding)))
    rows = list(read_file(tmp_path / name, tmp_path, LIMIT))
    assert [(row.source, row.text) for row in rows if isinstance(row, CollectedDocument)] == [
        (f"{name}#{number + 1}", f"Pier {number}") for number in range(5000)
    ]
    assert len(rows) == 5000


@pytest.mark.parametrize("name", PACKERS)
def test_a_compressed_file_that_was_cut_gives_what_comes_before(tmp_path: Path, name: str) -> None:
    noise = b"".join(b'{"text": "%s"}\n' % Random(number).randbytes(50).hex().encode() for number in range(10_000))
    (tmp_path / name).write_bytes(PACKERS[name](noise)[:-1000])
    rows = list(read_file(tmp_path / name, tmp_path, LIMIT))
    assert isinstance(rows[0], CollectedDocument)
    assert isinstance(rows[-1], Quarantined)
    assert (rows[-1].source, rows[-1].reason) == (name, "damaged")


@pytest.mark.parametrize("name", PACKERS)
def test_a_compressed_file_that_unpacks_to_too_much_is_left(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked_stream, "FREE_BYTES", 1000)
    monkeypatch.setattr(unpacked_stream, "MAX_RATIO", 2)
    (tmp_path / name).write_bytes(PACKERS[name](b'{"text": "again"}\n' * 100_000))
    rows = list(read_file(tmp_path / name, tmp_path, LIMIT))
    assert isinstance(rows[-1], Quarantined)
    assert (rows[-1].source, rows[-1].reason) == (name, "too_much")


def test_a_compressed_file_in_an_archive_is_read(tmp_path: Path) -> None:
    data = {f"b/{name}": pack(LINES[:100]) for name, pack in PACKERS.items()}
    (tmp_path / "a.zip").write_bytes(zipped(data))
    rows = [row for row in read_file(tmp_path / "a.zip", tmp_path, 1 << 20) if isinstance(row, CollectedDocument)]
    assert len({row.source for row in rows}) == len(rows) == 20
