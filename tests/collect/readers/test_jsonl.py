import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.readers.jsonl import read_jsonl, read_lines
from privllm.collect.source_file import ReadOptions, SourceFile
from privllm.core.records import document_id

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
