"""How well aligning went: the same conversations and documents put to the model before and after, none of which it learnt from.

Both models are asked in the form in which the aligned one is served, turns and marks, which a start that was never tuned has not seen.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from privllm.models.reply_likelihood import Margins, Pair, Said, agreement, log_probabilities, preferred
from privllm.stats.scores import Score, paired_interval
from privllm.train.align.recipe import Side
from privllm.train.pretrain_objectives import NextToken


class Judged(NamedTuple):
    margins: Margins  # of the held-out preferences
    said: Said  # of the held-out corrections
    text: Score  # nats and tokens of held-out rows of documents, batch by batch


def judge(model: PreTrainedModel, held_out: Side, text: NextToken, batch_size: int) -> Judged:
    pairs = [Pair(found.prompt, *found.replies) for _, found in held_out.preferences.kept]
    corrections = [(found.prompt, found.replies[0]) for _, found in held_out.corrections.kept]
    return Judged(preferred(model, pairs, batch_size), log_probabilities(model, corrections, batch_size), _read(model, text))


@torch.no_grad()
def _read(model: PreTrainedModel, text: NextToken) -> Score:
    nats, tokens = [], []
    for batch in text.held_out():
        nats.append(float(text.loss(tuple(part.to(model.device) for part in batch), "sum")))
        tokens.append(float(text.labels(batch)))
    return Score(np.array(nats), np.array(tokens))


def compare(before: Judged, after: Judged, held_out: Side, seed: int, draws: int) -> dict[str, Any]:
    """{figure: before, after, difference, and for what people said its 95 % interval}; a figure of nothing is left out.

    Judgements count by their weight, and those of one conversation are drawn together.
    """
    report: dict[str, Any] = {"text_loss": _both(before.text, after.text)}
    preferences, corrections = held_out.preferences.kept, held_out.corrections.kept
    if preferences:
        weights = np.array([lesson.weight for lesson, _ in preferences])
        report |= of_preferences(before.margins, after.margins, weights, [lesson.opening for lesson, _ in preferences], seed, draws)
    if corrections:
        weights = np.array([lesson.weight for lesson, _ in corrections])
        first, last = (Score(weights * -one.said.total, weights * one.said.tokens) for one in (before, after))
        report["correction_loss"] = _compared(first, last, [lesson.opening for lesson, _ in corrections], seed, draws)
    return report


def of_preferences(before: Margins, after: Margins, weights: np.ndarray, openings: list[str], seed: int, draws: int) -> dict[str, Any]:
    """{preference_accuracy, reward_accuracy}, each with its interval; `weights`, `openings`: of each pair.

    Reward is what DPO teaches (Rafailov et al. 2023): how much likelier than before a reply has become, so the start is right about half of
    the pairs.
    """
    asked = {"preference_accuracy": (before.mean, after.mean), "reward_accuracy": (np.zeros(len(weights)), after.total - before.total)}
    scores = {name: [Score(weights * agreement(margins), weights) for margins in both] for name, both in asked.items()}
    return {name: _compared(first, last, openings, seed, draws) for name, (first, last) in scores.items()}


def _both(before: Score, after: Score) -> dict[str, float]:
    return {
        name: round(value, 6)
        for name, value in (("before", before.value), ("after", after.value), ("difference", after.value - before.value))
    }


def _compared(before: Score, after: Score, openings: list[str], seed: int, draws: int) -> dict[str, Any]:
    low, high = paired_interval(after, before, openings, seed, draws)
    return _both(before, after) | {
        "low": round(low, 6),
        "high": round(high, 6),
        "judged": len(openings),
        "conversations": len(set(openings)),
    }
