"""What can be learnt from the rows that `feedback` wrote, and what a model can be judged by: corrections and preferences.

    sft.jsonl, preferences.jsonl  -> to learn from        held_out.jsonl  -> to judge by, never learnt

A correction is two things: a reply to imitate, and one that somebody preferred to what the model had said. Of what is held back, a vote
for one side is a preference too; ties and plain thumbs are nothing of either kind.
It reads and counts; whoever has a tokenizer says which rows fit a model (`encode_examples`). Files are ours, so a wrong one is our own mistake.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.report import balance
from privllm.core.seed import name_digest

Turns = tuple[tuple[str, str], ...]  # role, what was said


@dataclass(frozen=True)
class FeedbackExample:
    """A prompt and the reply it should have had, or two replies of which the first was preferred."""

    id: str
    opening: str  # a digest of the conversation's first question: what shares it stays together
    turns: Turns
    replies: tuple[str, ...]
    weight: float  # how much it should count, [0, 1]


class FeedbackExamples(NamedTuple):
    """Those of one side."""

    corrections: list[FeedbackExample]
    preferences: list[FeedbackExample]
    other: int  # rows that are neither


class EncodedExamples(NamedTuple):
    """What is left of lessons when they meet a model, and the reasons of the others."""

    kept: list[tuple[FeedbackExample, Any]]  # with what the model makes of it
    dropped: dict[str, int]  # "weightless", and whatever the encoder says

    @property
    def rows(self) -> int:
        return len(self.kept) + sum(self.dropped.values())


def read_training(folder: Path) -> FeedbackExamples:
    """What may be learnt of data/feedback_clean."""
    corrected = _rows(folder / "sft.jsonl")
    voted = [_lesson(row, row["chosen"], row["rejected"]) for row in _rows(folder / "preferences.jsonl")]
    return FeedbackExamples([_lesson(row, row["reply"]) for row in corrected], voted + _edits(corrected, "reply", "instead_of"), 0)


def read_held_out(folder: Path) -> FeedbackExamples:
    """What was kept back in data/feedback_clean."""
    rows = _rows(folder / "held_out.jsonl")
    corrected = [row for row in rows if row["kind"] == "rating" and row["correction"]]
    votes = [row for row in rows if row["kind"] == "vote" and row["choice"] in ("left", "right")]
    voted = [_lesson(row, row[row["choice"]], row["left" if row["choice"] == "right" else "right"]) for row in votes]
    corrections = [_lesson(row, row["correction"]) for row in corrected]
    return FeedbackExamples(corrections, voted + _edits(corrected, "correction", "reply"), len(rows) - len(corrected) - len(votes))


def _edits(rows: Iterable[dict[str, Any]], better: str, worse: str) -> list[FeedbackExample]:
    """Corrections as preferences; a reply that broke off before its first character is no other reply."""
    return [_lesson(row, row[better], row[worse]) for row in rows if row[worse].strip()]


def encode_examples(lessons: Iterable[FeedbackExample], encode: Callable[[FeedbackExample], Any]) -> EncodedExamples:
    """`encode` gives what a model reads, or as text the reason why it cannot. A lesson without weight teaches nothing."""
    lessons = list(lessons)
    kept: list[tuple[FeedbackExample, Any]] = []
    dropped: Counter[str] = Counter()
    for lesson in lessons:
        found = encode(lesson) if lesson.weight > 0 else "weightless"
        if isinstance(found, str):
            dropped[found] += 1
        else:
            kept.append((lesson, found))
    balance(len(lessons), len(kept), *dropped.values())
    return EncodedExamples(kept, dict(sorted(dropped.items())))


def count_raters(folder: Path) -> int:
    """How many people's words count for something."""
    return sum(row["kept"] > 0 and row["weight"] > 0 for row in _rows(folder / "raters.jsonl"))


def _lesson(row: dict[str, Any], *replies: str) -> FeedbackExample:
    turns = tuple((message["role"], message["content"]) for message in row["prompt"])
    first = next((text for role, text in turns if role == "user"), "")
    return FeedbackExample(row["id"], name_digest("opening", " ".join(first.casefold().split())), turns, replies, float(row["weight"]))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
