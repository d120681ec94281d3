"""How well aligning went: the same conversations and documents put to the model before and after, none of which it learnt from.

Both models are prompted in the form in which the aligned one is served, turns and marks, which a start that was
never tuned has not seen.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from privllm.models.reply_likelihood import (
    Margins,
    ReplyLikelihoods,
    ReplyPair,
    agreement,
    log_probabilities,
    preferred,
)
from privllm.stats.difference import Difference, difference
from privllm.stats.scores import Score
from privllm.train.align.data import EncodedFeedback
from privllm.train.pretrain_objectives import NextToken


class Measurements(NamedTuple):
    """What was measured of one model."""

    margins: Margins  # of the held-out preferences
    corrections: ReplyLikelihoods  # of the held-out corrections
    text: Score  # nats and tokens of held-out rows of documents, batch by batch


def measure(model: PreTrainedModel, held_out: EncodedFeedback, text: NextToken, batch_size: int) -> Measurements:
    """Return what a model makes of held-out feedback and documents."""
    pairs = [ReplyPair(exchange.prompt, *exchange.replies) for _, exchange in held_out.preferences.kept]
    corrections = [(exchange.prompt, exchange.replies[0]) for _, exchange in held_out.corrections.kept]
    return Measurements(
        margins=preferred(model, pairs, batch_size),
        corrections=log_probabilities(model, corrections, batch_size),
        text=_text_loss(model, text),
    )


@torch.no_grad()
def _text_loss(model: PreTrainedModel, text: NextToken) -> Score:
    nats, tokens = [], []
    for batch in text.held_out():
        on_device = tuple(tensor.to(model.device) for tensor in batch)
        nats.append(float(text.loss(on_device, "sum")))
        tokens.append(float(text.labels(batch)))
    return Score(np.array(nats), np.array(tokens))


def compare(
    before: Measurements,
    after: Measurements,
    held_out: EncodedFeedback,
) -> dict[str, Any]:
    """Return {figure: before, after, difference, and for feedback its 95 % interval}; a figure of nothing is left out.

    Judgements count by their weight, and those of one conversation are one group.
    """
    text_loss = difference(before.text, after.text, groups=())  # batches of rows are no groups
    report: dict[str, Any] = {"text_loss": _plain(text_loss)}
    preferences, corrections = held_out.preferences.kept, held_out.corrections.kept
    if preferences:
        weights = np.array([lesson.weight for lesson, _ in preferences])
        openings = [lesson.opening for lesson, _ in preferences]
        report |= of_preferences(before.margins, after.margins, weights, openings)
    if corrections:
        weights = np.array([lesson.weight for lesson, _ in corrections])
        openings = [lesson.opening for lesson, _ in corrections]
        loss_before = _weighted_loss(before.corrections, weights)
        loss_after = _weighted_loss(after.corrections, weights)
        report["correction_loss"] = _compared(loss_before, loss_after, openings)
    return report


def _weighted_loss(likelihoods: ReplyLikelihoods, weights: np.ndarray) -> Score:
    weighted_nats = weights * -likelihoods.total
    return Score(weighted_nats, weights * likelihoods.tokens)


def of_preferences(
    before: Margins,
    after: Margins,
    weights: np.ndarray,
    openings: list[str],
) -> dict[str, Any]:
    """Return {preference_accuracy, reward_accuracy}, each with its interval; `weights`, `openings`: of each pair.

    Reward is what DPO teaches (Rafailov et al. 2023): how much likelier than before a reply has become, so the start
    is right about half of the pairs.
    """

    def compared(margins_before: np.ndarray, margins_after: np.ndarray) -> dict[str, Any]:
        score_before = Score(over=weights * agreement(margins_before), under=weights)
        score_after = Score(over=weights * agreement(margins_after), under=weights)
        return _compared(score_before, score_after, openings)

    no_reward = np.zeros(len(weights))
    return {
        "preference_accuracy": compared(before.mean, after.mean),
        "reward_accuracy": compared(no_reward, after.total - before.total),
    }


def _compared(before: Score, after: Score, openings: list[str]) -> dict[str, Any]:
    measured = difference(before, after, openings)
    return _plain(measured) | {"judged": len(openings), "conversations": len(set(openings))}


def _plain(measured: Difference) -> dict[str, float]:
    """Return a difference as it stands in the report; `low` and `high` only where there is an interval."""
    values = {"before": measured.a, "after": measured.b, "difference": measured.difference}
    if measured.interval:
        values["low"], values["high"] = measured.interval
    return values
