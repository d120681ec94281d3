"""Training and evaluation examples made of feedback: corrections and preferences.

    sft.jsonl, preferences.jsonl  -> to learn from        held_out.jsonl  -> to evaluate with, never learnt

A correction gives two examples: a reply to imitate, and a preference of it over what the model had
said. In the held-out part a vote for one side is a preference too; ties and plain thumbs give no
example. Tokenizers are not known here: callers of `encode_examples` say which examples fit a model.
The files are written by `feedback.recipe`, so a malformed one is a mistake of ours.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.report import balance
from privllm.core.seed import name_digest

Row = dict[str, Any]
Turns = tuple[tuple[str, str], ...]  # (role, text)
OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class FeedbackExample:
    """A prompt and the reply it should have had, or two replies of which the first was preferred."""

    id: str
    opening: str  # digest of the conversation's first question; examples that share it stay in one split
    turns: Turns
    replies: tuple[str, ...]
    weight: float  # how much the example should count, [0, 1]


class FeedbackExamples(NamedTuple):
    """Examples of one split."""

    corrections: list[FeedbackExample]
    preferences: list[FeedbackExample]
    other: int  # rows that are neither


class EncodedExamples(NamedTuple):
    """Examples that a model can read, and the reasons why others were dropped."""

    kept: list[tuple[FeedbackExample, Any]]  # with what the encoder returned
    dropped: dict[str, int]  # counts by reason: "weightless", or one that the encoder gave

    @property
    def rows(self) -> int:
        return len(self.kept) + sum(self.dropped.values())


def read_training(folder: Path) -> FeedbackExamples:
    """Read the training examples of data/feedback_clean."""
    corrected = _read_rows(folder / "sft.jsonl")
    voted = _read_rows(folder / "preferences.jsonl")
    imitated = [*corrected, *_read_rows(folder / "chat.jsonl")]
    corrections = [_example(row, row["reply"]) for row in imitated]
    preferences = [_example(row, row["chosen"], row["rejected"]) for row in voted]
    preferences += _preferred_corrections(corrected, "reply", "instead_of")
    return FeedbackExamples(corrections, preferences, other=0)


def read_held_out(folder: Path) -> FeedbackExamples:
    """Read the held-out examples of data/feedback_clean."""
    rows = _read_rows(folder / "held_out.jsonl")
    corrected = [row for row in rows if row["kind"] == "rating" and row["correction"]]
    voted = [row for row in rows if row["kind"] == "vote" and row["choice"] in OTHER_SIDE]
    corrections = [_example(row, row["correction"]) for row in corrected]
    preferences = [_voted_example(row) for row in voted]
    preferences += _preferred_corrections(corrected, "correction", "reply")
    return FeedbackExamples(corrections, preferences, len(rows) - len(corrected) - len(voted))


def _voted_example(vote: Row) -> FeedbackExample:
    choice = vote["choice"]
    return _example(vote, vote[choice], vote[OTHER_SIDE[choice]])


def _preferred_corrections(rows: Iterable[Row], better: str, worse: str) -> list[FeedbackExample]:
    """Return corrections as preferences, but not over a reply that broke off before its first character."""
    return [_example(row, row[better], row[worse]) for row in rows if row[worse].strip()]


def encode_examples(
    examples: Iterable[FeedbackExample],
    encode: Callable[[FeedbackExample], Any],
) -> EncodedExamples:
    """Encode all examples that have a weight.

    `encode` returns what a model reads, or a str: the reason why the model cannot read the example.
    """
    kept: list[tuple[FeedbackExample, Any]] = []
    dropped: Counter[str] = Counter()
    total = 0
    for example in examples:
        total += 1
        encoded = encode(example) if example.weight > 0 else "weightless"
        if isinstance(encoded, str):
            dropped[encoded] += 1
        else:
            kept.append((example, encoded))
    balance(total, len(kept), *dropped.values())
    return EncodedExamples(kept, dict(sorted(dropped.items())))


def count_raters(folder: Path) -> int:
    """Return the number of people whose feedback counts."""
    return sum(row["kept"] > 0 and row["weight"] > 0 for row in _read_rows(folder / "raters.jsonl"))


def _example(row: Row, *replies: str) -> FeedbackExample:
    turns = tuple((message["role"], message["content"]) for message in row["prompt"])
    first_question = next((text for role, text in turns if role == "user"), "")
    opening = name_digest("opening", " ".join(first_question.casefold().split()))
    return FeedbackExample(row["id"], opening, turns, replies, float(row["weight"]))


def _read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
