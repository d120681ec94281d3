import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from privllm.core.errors import UserError
from privllm.judge.records import Rating, Vote, from_plain, read_ratings, read_votes, to_line
from tests.judge.cases import rating, vote


def test_lines_give_records_back(tmp_path: Path) -> None:
    votes = [vote("1", "left"), vote("2", "both_bad")]
    (tmp_path / "votes.jsonl").write_text("".join(f"{to_line(v)}\n" for v in votes), "utf-8")
    assert read_votes(tmp_path / "votes.jsonl") == votes
    assert read_votes(tmp_path / "none.jsonl") == []


def test_a_later_edition_replaces_an_earlier(tmp_path: Path) -> None:
    lines = [rating("1"), rating("2"), rating("1", 2, "yes")]
    (tmp_path / "r.jsonl").write_text("".join(f"{to_line(r)}\n" for r in lines), "utf-8")
    assert read_ratings(tmp_path / "r.jsonl") == [lines[2], lines[1]]


def edited(plain: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(plain))
    *path, key = dotted.split(".")
    part = copy
    for name in path:
        part = part[int(name)] if isinstance(part, list) else part[name]
    if value is None:
        del part[key]
    else:
        part[key] = value
    return copy


@pytest.mark.parametrize(
    ("dotted", "value", "named"),
    [
        ("choice", "both", "choice"),
        ("more", 1, "more"),
        ("rater", None, "rater"),
        ("decoding.seed", True, "decoding.seed"),
        ("decoding.seed", 1.5, "decoding.seed"),
        ("messages.0.role", "tool", r"messages\[0\].role"),
        ("left.model.digest", 3, "left.model.digest"),
        ("messages", "hi", "messages"),
        ("left", [], "left"),
    ],
)
def test_what_is_no_vote_is_named(dotted: str, value: Any, named: str, tmp_path: Path) -> None:
    plain = edited(json.loads(json.dumps(asdict(vote("1", "tie")))), dotted, value)
    with pytest.raises(ValueError, match=f"`{named}`"):
        from_plain(Vote, plain)
    (tmp_path / "v.jsonl").write_text(f"{to_line(vote('1', 'tie'))}\n{json.dumps(plain)}\n")
    with pytest.raises(UserError, match="line 2 is no vote"):
        read_votes(tmp_path / "v.jsonl")


def test_whole_numbers_may_stand_for_floats() -> None:
    plain = edited(asdict(rating("1")), "decoding.temperature", 1)
    assert isinstance(from_plain(Rating, plain).decoding.temperature, float)
