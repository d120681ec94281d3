"""A tiny model that was pretrained a little, and what two people say of its replies: they like those that name Ada."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privllm.feedback.recipe import FeedbackConfig
from privllm.models.loading import build
from privllm.tokens.chat_format import Speech
from privllm.tokens.special_ids import special_ids
from privllm.train.align.config import AlignConfig, AlignInputs, DpoConfig, Places, SftConfig
from privllm.train.config import TrainConfig
from privllm.train.loop import Work, train
from privllm.train.pretrain import save
from privllm.train.pretrain_objectives import NextToken, Split
from tests.feedback.said import Rating, Vote, put, rating, run, vote
from tests.train.tiny_corpus import write_split
from tests.train.tiny_tasks import CONTEXT, MODELS, make_tokenizer

NOUNS, LIKED = ["red", "green", "blue", "stone", "river", "cloud"], "Ada"


def make_rows(folder: Path, speech: Speech) -> Path:
    """Text with a rule: a noun is followed by the next one of the list."""
    rng = np.random.default_rng(0)
    for side, rows in (("train", 40), ("validation", 8)):
        texts = [" ".join(NOUNS[(start + i) % 6] for i in range(CONTEXT)) for start in rng.integers(0, 6, rows)]
        write_split(folder / side, [[[0, *speech.ids(text)][: CONTEXT + 1] for text in texts]], CONTEXT)
    return folder


def make_start(folder: Path, rows: Path, tokenizer: Path) -> Path:
    """A model that knows the rule."""
    from privllm.tokens.rows import open_rows

    model = build("causal", MODELS["causal"], special_ids(tokenizer), CONTEXT, seed=1)
    cfg = TrainConfig(learning_rate=0.003, batch_size=8, compile=False, warmup_steps=5, validate_every=60)
    text = NextToken(
        model, cfg, Split(open_rows(rows / "train")), Split(open_rows(rows / "validation")), special_ids(tokenizer)
    )
    train(text, cfg, 60, folder / "live", Work(folder / "work", "code"), "key")
    save(model, {"config": {"seed": 0}}, folder / "start")
    return folder / "start"


def replies(i: int) -> tuple[str, str]:
    """One that is liked, one that is not; of one length."""
    rng = np.random.default_rng(i)
    verb, other = rng.choice(["walks", "sings", "sleeps"]), rng.choice(["Bob", "Eve"])
    return f"{LIKED} {verb}", f"{other} {verb}"


def said(votes: int = 40, corrections: int = 10) -> list[Rating | Vote]:
    lines: list[Rating | Vote] = []
    for i in range(votes):
        good, bad = replies(i)
        for rater in ("one", "two"):
            left, right = (good, bad) if (i + len(rater)) % 2 else (bad, good)
            lines.append(
                vote(rater, f"{NOUNS[i % 6]} {i}", "left" if left == good else "right", left=left, right=right)
            )
    return lines + [rating("one", f"the {NOUNS[i % 6]} {i}", "down", replies(i)[0]) for i in range(corrections)]


def make_feedback(folder: Path, *lines: Rating | Vote, held_out: float = 0.3) -> Path:
    put(folder / "in/said.jsonl", *lines)
    run(folder / "in", folder / "clean", FeedbackConfig(held_out=held_out))
    (folder / "clean/chat.jsonl").touch()
    return folder / "clean"


def make_inputs(root: Path) -> AlignInputs:
    tokenizer = make_tokenizer(root / "tokenizer")
    rows = make_rows(root / "rows", Speech(tokenizer))
    return AlignInputs(make_start(root, rows, tokenizer), make_feedback(root / "feedback", *said()), rows, tokenizer)


def tiny(**changes: Any) -> AlignConfig:
    values: dict[str, Any] = {"sft": SftConfig(0.002), "dpo": DpoConfig(0.001), "batch_size": 4}
    return AlignConfig(**(values | {"validation": 0.15} | changes))


def places(folder: Path, code: str = "code") -> Places:
    """A checkpoint after every step."""
    return Places(folder / "out", folder / "live", folder / "work", code, 0.0)


def write_lessons(
    folder: Path,
    sft: Sequence[dict] = (),
    preferences: Sequence[dict] = (),
    held_out: Sequence[dict] = (),
    chat: Sequence[dict] = (),
) -> Path:
    """What the feedback stage would leave, row by row."""
    folder.mkdir(parents=True, exist_ok=True)
    raters = [{"rater": "r", "kept": 1, "weight": 0.5}]
    sft = [{"instead_of": ""} | row for row in sft]
    files = {"sft": sft, "chat": chat, "preferences": preferences, "held_out": held_out, "raters": raters}
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


def row(i: int, weight: float = 1.0, question: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": str(i),
        "rater": "r",
        "weight": weight,
        "prompt": [{"role": "user", "content": question or f"red {i}"}],
    } | more
