import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.seed import digest
from privllm.feedback.reading import ParsedLine, RefusedLine, lines_of, moment, read_files
from privllm.feedback.recipe import FeedbackConfig
from privllm.feedback.records import to_line
from tests.feedback.said import put, rating, run, vote

GOOD = json.loads(to_line(vote("eva", "hi", "left")))
RATED = json.loads(to_line(rating("eva", "hi", "up")))


def side(**changes: str) -> dict:
    return {"text": "one", "model": {"name": "a", "revision": "", "digest": "aa"} | changes}


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
        (json.dumps({**GOOD, "left": side(digest="\ud800")}), "schema", "`left.model.digest` must be"),
        (json.dumps({**GOOD, "right": side(name="x" * 201)}), "schema", "`right.model.name` must be"),
        (json.dumps({**RATED, "model": side(revision="a\nb")["model"]}), "schema", "`model.revision` must be"),
        (json.dumps({**RATED, "edition": 0}), "schema", "`edition` must be between 1 and 1,000,000"),
        (json.dumps({**RATED, "edition": 1_000_001}), "schema", "`edition` must be between 1 and 1,000,000"),
        (json.dumps({**GOOD, "time": "yesterday"}), "schema", "`time` must be ISO 8601"),
        (json.dumps({**GOOD, "\x1b[2J" * 90: 1}), "schema", "�[2J"),
        ("x" * 5_000, "too_long", "5,000 bytes"),
    ],
)
def test_a_bad_line_is_refused_by_name_and_the_rest_is_read(
    tmp_path: Path, line: str | bytes, reason: str, detail: str
) -> None:
    put(tmp_path / "deep/a.jsonl", vote("eva", "hi", "left"), line, " ", rating("eva", "hi", "up"))
    first, bad, last = read_files(tmp_path, 4_000 if reason == "too_long" else 1 << 20)
    assert isinstance(first, ParsedLine)
    assert isinstance(last, ParsedLine)
    assert last.line.source == "deep/a.jsonl#4"
    assert isinstance(bad, RefusedLine)
    assert (bad.reason, bad.line.source) == (reason, "deep/a.jsonl#2")
    assert detail in bad.detail
    assert len(bad.detail) <= 120
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
    assert [type(found) for found in read_files(tmp_path, 1 << 20)] == [ParsedLine]


@pytest.mark.parametrize(
    "changes", [{"id": "x" * 200}, {"rater": "é" * 200}, {"left": side(name="x" * 200, digest="", revision="")}]
)
def test_names_may_be_as_long_as_that(tmp_path: Path, changes: dict) -> None:
    put(tmp_path / "a.jsonl", json.dumps({**GOOD, **changes}))
    assert [type(found) for found in read_files(tmp_path, 1 << 20)] == [ParsedLine]


@pytest.mark.parametrize(
    ("time", "seconds"), [("1970-01-02", 86_400), ("1970-01-01T01:00:00Z", 3_600), ("1970-01-01T01:00:00+01:00", 0)]
)
def test_a_time_without_a_zone_is_utc(time: str, seconds: float, tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", json.dumps({**RATED, "time": time}))
    [found] = read_files(tmp_path, 1 << 20)
    assert isinstance(found, ParsedLine)
    assert moment(found.record) == seconds


def test_what_is_half_a_character_in_a_models_name_stops_nobody(tmp_path: Path) -> None:
    """It cannot be written as UTF-8, and once stopped the whole stage."""
    put(tmp_path / "in/a.jsonl", json.dumps({**GOOD, "left": side(digest="\ud800")}), vote("eva", "ho", "left"))
    for share in (0.0, 1.0):
        report, _ = run(tmp_path / "in", tmp_path / "out", FeedbackConfig(held_out=share))
        assert (report["kept"], report["quarantined"]) == (1, {"schema": 1})


def test_links_are_not_followed_but_into_the_cache(tmp_path: Path) -> None:
    """Whoever may put a link there could have any file of this machine read, and learnt."""
    secret, folder = tmp_path / "elsewhere.jsonl", tmp_path / "feedback"
    cached = tmp_path / "cache/files/md5/ab" / ("0" * 30)
    put(secret, vote("eva", "secret", "left"))
    put(cached, vote("eva", "mine", "left"))
    put(folder / "own.jsonl", vote("ada", "own", "left"))
    (folder / "a.jsonl").symlink_to(secret)
    (folder / "b.jsonl").symlink_to(cached)
    (folder / "c.jsonl").symlink_to(tmp_path / "nothing")
    (folder / "d.jsonl").symlink_to(tmp_path)
    lines = list(read_files(folder, 1 << 20))
    refused = [line for line in lines if isinstance(line, RefusedLine)]
    assert [(line.line.source, line.reason) for line in refused] == [
        ("a.jsonl#0", "link"), ("c.jsonl#0", "link"), ("d.jsonl#0", "link"),
    ]  # fmt: skip
    read = [line.record.messages[0].content for line in lines if isinstance(line, ParsedLine)]
    assert read == ["mine", "own"]
    report, _ = run(folder, tmp_path / "out")
    assert report["quarantined"] == {"link": 3}
    assert "secret" not in (tmp_path / "out/quarantine.jsonl").read_text()
