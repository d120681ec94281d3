import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.seed import digest
from privllm.judge.reading import DETAIL_CHARACTERS, Entry, Refused, lines_of, read_files
from privllm.judge.records import to_line
from tests.judge.said import put, rating, vote

GOOD = json.loads(to_line(vote("eva", "hi", "left")))


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b"\xff{}", "encoding", "not UTF-8 at byte 0"),
        ("{", "json", "Expecting"),
        ("[" * 100_000, "json", "nested too deeply"),
        (json.dumps(GOOD).replace("0.95", "NaN"), "json", "NaN is no number"),
        (json.dumps(GOOD).replace("0.95", "1" + "0" * 400), "schema", "too large"),
        ("[]", "schema", "`record` must be an object"),
        ('{"z": 1, "a": 2}', "schema", "`a` is unknown"),
        (json.dumps({**GOOD, "choice": "both"}), "schema", "`choice` must be one of"),
        (json.dumps({**GOOD, "rater": ""}), "schema", "`rater` must be"),
        (json.dumps({**GOOD, "rater": "\ud800"}), "schema", "`rater` must be"),
        (json.dumps({**GOOD, "id": "x" * 201}), "schema", "`id` must be"),
        (json.dumps({**GOOD, "time": "yesterday"}), "schema", "`time` must be ISO 8601"),
        (json.dumps({**GOOD, "\x1b[2J" * 90: 1}), "schema", "�[2J"),
        ("x" * 5_000, "too_long", "5,000 bytes"),
    ],
)
def test_a_bad_line_is_refused_by_name_and_the_rest_is_read(tmp_path: Path, line: str | bytes, reason: str, detail: str) -> None:
    put(tmp_path / "deep/a.jsonl", vote("eva", "hi", "left"), line, " ", rating("eva", "hi", "up"))
    first, bad, last = read_files(tmp_path, 4_000 if reason == "too_long" else 1 << 20)
    assert isinstance(first, Entry)
    assert isinstance(last, Entry)
    assert last.line.source == "deep/a.jsonl#4"
    assert isinstance(bad, Refused)
    assert (bad.reason, bad.line.source) == (reason, "deep/a.jsonl#2")
    assert detail in bad.detail
    assert len(bad.detail) <= DETAIL_CHARACTERS
    assert bad.detail.isprintable()
    raw = line.encode() if isinstance(line, str) else line
    assert (bad.line.digest, bad.line.bytes) == (digest(raw), len(raw))


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))), st.booleans(), st.integers(1, 40))
def test_lines_are_those_of_the_file_however_long(lines: list[bytes], ended: bool, most: int) -> None:
    data = b"\n".join(lines) + b"\n" * ended
    expected = data.split(b"\n")[: -1 if data.endswith(b"\n") or not data else None]
    assert list(lines_of(io.BytesIO(data), most)) == [(line[:most], digest(line), len(line)) for line in expected]


def test_what_is_no_jsonl_is_not_feedback_and_a_mark_at_the_start_is(tmp_path: Path) -> None:
    put(tmp_path / "votes.jsonl.dvc", "outs:")
    put(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + to_line(vote("eva", "hi", "left")).encode())
    assert [type(found) for found in read_files(tmp_path, 1 << 20)] == [Entry]
