import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from privllm.core.errors import UserError
from privllm.feedback.records import Decoding, Rating, Vote, from_plain, read_ratings, read_votes, to_line
from tests.feedback.cases import rating, vote


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


@pytest.mark.parametrize(
    ("dotted", "value", "said"),
    [
        ("edition", True, "`edition` must be of type int"),
        ("edition", 1.0, "`edition` must be of type int"),
        ("rater", 5, "`rater` must be of type str"),
        ("rater", None, "`rater` is missing"),
        ("decoding.top_p", "1", "`decoding.top_p` must be of type float"),
        ("decoding.top_p", True, "`decoding.top_p` must be of type float"),
        ("thumb", "sideways", "`thumb` must be one of 'up', 'down', ''"),
        ("model", "a", "`model` must be an object"),
        ("messages", [5], "`messages[0]` must be an object"),
        ("messages", {}, "`messages` must be a list"),
        ("messages.2.more", "x", "`messages[2].more` is unknown"),
    ],
)
def test_what_is_no_rating_is_named_and_why(dotted: str, value: Any, said: str) -> None:
    plain = edited(json.loads(json.dumps(asdict(rating("1")))), dotted, value)
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        from_plain(Rating, plain)


def test_what_is_no_object_is_no_record() -> None:
    for value in ([], "x", None, 5):
        with pytest.raises(ValueError, match="`record` must be an object"):
            from_plain(Rating, value)


def test_of_two_votes_on_one_match_the_last_counts(tmp_path: Path) -> None:
    lines = [vote("1", "left"), vote("2", "tie"), vote("1", "right")]
    (tmp_path / "v.jsonl").write_text("".join(f"{to_line(v)}\n" for v in lines), "utf-8")
    assert read_votes(tmp_path / "v.jsonl") == [lines[2], lines[1]]


def test_no_record_is_written_that_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_line(replace(rating("1"), decoding=Decoding(math.nan, 1.0, 1, 1)))
    assert "naïve" in to_line(vote("1", "left"))
