"""Feedback as token ids: what `align` learns from, and what it is judged on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.seed import unit_interval
from privllm.feedback.preferences import (
    EncodedExamples,
    FeedbackExample,
    FeedbackExamples,
    count_raters,
    encode_examples,
    read_held_out,
    read_training,
)
from privllm.train.align.config import LONGEST, AlignConfig, AlignInputs


class EncodedFeedback(NamedTuple):
    """The lessons of one split."""

    corrections: EncodedExamples
    preferences: EncodedExamples
    other: int  # rows that are neither


class Material(NamedTuple):
    """All feedback, as ids."""

    training: EncodedFeedback
    held_out: EncodedFeedback
    validation: frozenset[str]  # openings of conversations in `training` that only decide when to stop
    cut: int  # lessons in use whose prompt did not fit whole
    people: int


def read_material(cfg: AlignConfig, inputs: AlignInputs) -> Material:
    """Read the feedback in the ids of this build's tokenizer, in the form in which `serve` prompts the model."""
    from privllm.tokens.chat_format import Speech

    speech = Speech(inputs.tokenizer)
    context = _context(inputs.start)
    cut = 0

    def encode(lesson: FeedbackExample) -> Any:
        nonlocal cut
        exchange = speech.exchange(lesson.turns, lesson.replies, context)
        if not isinstance(exchange, str):
            cut += exchange.cut
        return exchange

    training = _encode(read_training(inputs.feedback), encode)
    held_out = _encode(read_held_out(inputs.feedback), encode)
    lessons = [*training.corrections.kept, *training.preferences.kept]
    openings = {lesson.opening for lesson, _ in lessons}
    validation = frozenset(opening for opening in openings if unit_interval("align", opening) < cfg.validation)
    if not validation < openings:  # nothing would be left to learn from
        validation = frozenset()
    return Material(training, held_out, validation, cut, count_raters(inputs.feedback))


def _encode(lessons: FeedbackExamples, encode: Callable[[FeedbackExample], Any]) -> EncodedFeedback:
    corrections, preferences, other = lessons
    return EncodedFeedback(
        corrections=encode_examples(corrections, encode),
        preferences=encode_examples(preferences, encode),
        other=other,
    )


def counts_of(material: Material) -> dict[str, Any]:
    """Return how many rows came in, and what became of them."""
    counts: dict[str, Any] = {"people": material.people, "cut": material.cut}
    for split, feedback in (("training", material.training), ("held_out", material.held_out)):
        counts[split] = {"other": feedback.other}
        for kind, lessons in (("corrections", feedback.corrections), ("preferences", feedback.preferences)):
            counts[split][kind] = {"rows": lessons.rows, "used": len(lessons.kept), "dropped": lessons.dropped}
    return counts


def _context(start: Path) -> int:
    """Read how many tokens of a conversation are learnt: as many as the model sees at once, but for LONGEST.

    Transformers would tell it too, seconds later.
    """
    config = json.loads((start / "config.json").read_text("utf-8"))
    return min(LONGEST, config.get("max_position_embeddings") or config["n_positions"])
