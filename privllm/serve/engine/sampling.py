"""Sampling of the next token for several sequences, each with its own settings and generator.

The order is vLLM's: penalties, temperature, min_p, top_k, top_p. Log-probabilities are the model's
own, before all of these. A sequence's tokens do not depend on the sequences decoded beside it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from privllm.models.generate import SamplingConfig, sample
from privllm.serve.engine.base import SamplingSettings

LEAST_TOP_P = 1e-9  # less would be 0 in fp32, and leave not even the likeliest token


class Row(NamedTuple):
    """One sequence: how its next token is drawn, and the tokens before it, where there are penalties."""

    settings: SamplingSettings
    generator: torch.Generator
    prompt_ids: Sequence[int] = ()
    reply_ids: Sequence[int] = ()
    allowed_V: Tensor | None = None  # bool [V]: tokens that a grammar lets follow; None: all


def sample_rows(logits_RV: Tensor, rows: Sequence[Row], banned_ids: Sequence[int] = ()) -> list[int | None]:
    """Return a token id per row of logits [R, V], none of `banned_ids`. Generators are on the CPU.

    None: there is nothing to draw from, such as where the model gives no numbers. That row alone fails.

    Rows are sampled one by one: sorting all of them at once took as long (64 rows of 4,096: 50 ms
    against 40 ms).
    """
    tokens: list[int | None] = []
    for logits_V, row in zip(logits_RV.float().cpu(), rows, strict=True):
        top_p = max(row.settings.top_p, LEAST_TOP_P)
        config = SamplingConfig(temperature=row.settings.temperature, top_p=top_p)
        try:
            tokens.append(sample(_adjusted(logits_V, row, banned_ids), config, row.generator, banned_ids))
        except RuntimeError:  # torch's, of probabilities that are none
            tokens.append(None)
    return tokens


def _adjusted(logits_V: Tensor, row: Row, banned_ids: Sequence[int]) -> Tensor:
    """Return the logits after penalties, without the tokens that a grammar, min_p and top_k leave out."""
    settings = row.settings
    if settings.has_penalties:
        logits_V = _penalised(logits_V, row)
    if row.allowed_V is not None:
        logits_V = logits_V.masked_fill(~row.allowed_V, -math.inf)
    if not settings.min_p and not settings.top_k:
        return logits_V
    if banned_ids:  # or the likeliest of all might be one of them
        logits_V = logits_V.index_fill(0, torch.tensor(banned_ids), -math.inf)
    if settings.min_p and settings.temperature:
        floor = logits_V.max() + settings.temperature * math.log(settings.min_p)
        logits_V = logits_V.masked_fill(logits_V < floor, -math.inf)
    if 0 < settings.top_k < len(logits_V):
        last_kept = logits_V.topk(settings.top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < last_kept, -math.inf)
    return logits_V


def _penalised(logits_V: Tensor, row: Row) -> Tensor:
    """Return the logits less what repetition costs.

    `repetition_penalty` (Keskar et al. 2019) is of the prompt's and the reply's tokens; the other two
    are of the reply's.
    """
    settings = row.settings
    logits_V = logits_V.clone()
    seen = torch.tensor([*row.prompt_ids, *row.reply_ids], dtype=torch.long).unique()
    penalty = settings.repetition_penalty
    logits_V[seen] = torch.where(logits_V[seen] > 0, logits_V[seen] / penalty, logits_V[seen] * penalty)
    said, counts = torch.tensor(list(row.reply_ids), dtype=torch.long).unique(return_counts=True)
    logits_V[said] -= settings.presence_penalty + settings.frequency_penalty * counts
    return logits_V


class Likelihood(NamedTuple):
    """Log-probability of a token, and the likeliest tokens in its place."""

    logprob: float
    top: list[tuple[int, float]]


def likelihood(logits_V: Tensor, token: int, count: int) -> Likelihood:
    """Return the log-probability of `token`, and `count` likeliest tokens with theirs."""
    logprobs_V = logits_V.float().cpu().log_softmax(0)
    values, ids = logprobs_V.topk(min(count, len(logprobs_V)))
    return Likelihood(float(logprobs_V[token]), list(zip(ids.tolist(), values.tolist(), strict=True)))
