"""Ratings and votes by several people, and the stage's recipe with doors that need no model."""

import json
from pathlib import Path
from typing import Any

from privllm.clean.clean_text import clean_text
from privllm.feedback.reading import ParsedLine, SourceLine
from privllm.feedback.recipe import FeedbackConfig, feedback
from privllm.feedback.records import Choice, Decoding, Message, Model, ModelReply, Rating, Thumb, Vote, to_line
from privllm.feedback.screening import ScreenedRecord, screen
from privllm.validate.personal_data_left import leftovers

DECODING = Decoding(0.8, 0.95, 200, 7)
A, B = Model("a", "", "aa"), Model("b", "", "bb")


def vote(
    rater: str, prompt: str, choice: Choice, number: int = 0, left: str = "one", right: str = "two", time: int = 0
) -> Vote:
    sides = ModelReply(A, left), ModelReply(B, right)
    key = f"{rater}/{prompt}/{number}"
    return Vote(key, rater, f"2026-11-23T10:00:{time:02}Z", (Message("user", prompt),), *sides, DECODING, choice, "")


def rating(
    rater: str, prompt: str, thumb: Thumb = "", correction: str = "", number: int = 0, reply: str = "no", time: int = 0
) -> Rating:
    key, said = f"{rater}/{prompt}/{number}", (Message("user", prompt),)
    return Rating(key, 1, rater, f"2026-11-23T10:00:{time:02}Z", A, said, reply, DECODING, thumb, correction, "")


def through(*records: Rating | Vote) -> list[ScreenedRecord]:
    found = [
        screen(ParsedLine(SourceLine(f"f#{i}", f"{i:032x}", 1), record), clean_text, leftovers)
        for i, record in enumerate(records, 1)
    ]
    assert all(isinstance(one, ScreenedRecord) for one in found), found
    return found  # type: ignore[return-value]


def no_check(rows: list[dict[str, Any]], totals: dict[str, Any], limits: Any) -> dict[str, Any]:
    return {}


def run(
    folder: Path, out: Path, cfg: FeedbackConfig | None = None
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """(report, {name of the file: rows})."""
    report = feedback(cfg or FeedbackConfig(), folder, out, clean_text, leftovers, no_check)
    return report, {path.stem: lines_of(path) for path in sorted(out.glob("*.jsonl"))}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """A file's rows; of no row it holds one empty line."""
    return [json.loads(line) for line in path.read_bytes().splitlines() if line]


def put(path: Path, *records: Rating | Vote | str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [to_line(one) if isinstance(one, Rating | Vote) else one for one in records]
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
