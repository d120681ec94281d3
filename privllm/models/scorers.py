"""How many nats a model needs for each token of a batch of rows, in every family's own way.

causal     each token from those before it
masked     each token from those on both sides, of which a third are hidden at a time: three passes hide every token once
           (a pseudo-likelihood, Salazar et al. 2020, arXiv 1910.14659, with more than one gap at a time)
seq2seq    the tokens of randomly cut spans, each from the text around the spans and the spans before it

What is hidden, the seed of each row decides. Where rows come from and where scores go, `evaluate.scoring` decides.

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.core.special_tokens import SpecialIds
from privllm.models.config import CorruptionConfig
from privllm.models.span_corruption import cut_out, holes

PASSES = 3


class RowScores(NamedTuple):
    """The scored tokens of one row."""

    places: np.ndarray  # within the row, 1 and up
    nats: np.ndarray  # float64
    correct: np.ndarray  # whether it was the likeliest


# of a model, its tokenizer's special ids, rows and their seeds
Scorer = Callable[[PreTrainedModel, SpecialIds, list[np.ndarray], list[int]], list[RowScores]]


@torch.inference_mode()
def score_next_tokens(
    model: PreTrainedModel, special: SpecialIds, rows: list[np.ndarray], seeds: list[int]
) -> list[RowScores]:
    """Score every token but the first, which belongs to the row before or is a boundary."""
    ids, _ = _padded(rows, special.pad, model)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    nats, correct = _compare(logits, ids[:, 1:])
    return _all_but_first(rows, nats, correct)


@torch.inference_mode()
def score_masked_tokens(
    model: PreTrainedModel, special: SpecialIds, rows: list[np.ndarray], seeds: list[int]
) -> list[RowScores]:
    """Score every token but the first, which belongs to the row before; a third of a row is hidden at a time."""
    ids, is_token = _padded([row[1:] for row in rows], special.pad, model)
    pass_of = np.zeros(ids.shape, np.int64)
    for i, (row, seed) in enumerate(zip(rows, seeds, strict=True)):
        length = len(row) - 1
        pass_of[i, :length] = np.random.Generator(np.random.PCG64(seed)).permutation(length) % PASSES
    nats = np.zeros(ids.shape)
    correct = np.zeros(ids.shape, bool)
    for number in range(PASSES):
        hidden = torch.from_numpy(pass_of == number).to(ids.device) & is_token
        logits = model(input_ids=ids.masked_fill(hidden, special.required_mask), attention_mask=is_token).logits
        pass_nats, pass_correct = _compare(logits, ids)
        where = hidden.cpu().numpy()
        nats[where] = pass_nats[where]
        correct[where] = pass_correct[where]
    return _all_but_first(rows, nats, correct)


@torch.inference_mode()
def score_spans(
    model: PreTrainedModel, special: SpecialIds, rows: list[np.ndarray], seeds: list[int]
) -> list[RowScores]:
    """Score the tokens of spans, cut out as T5 does; a row's first token belongs to the row before and is left out."""
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    places: list[np.ndarray] = []
    for row, seed in zip(rows, seeds, strict=True):
        first = 1 if len(row) > 2 else 0  # of two tokens one must stay
        spans = holes(CorruptionConfig(), len(row) - first, np.random.Generator(np.random.PCG64(seed)))
        row_inputs, row_labels = cut_out(row[first:], spans, special)
        inputs.append(row_inputs)
        labels.append(row_labels)
        places.append(_places_of_labels(spans, first))
    ids, is_token = _padded(inputs, special.pad, model)
    label_ids, _ = _padded(labels, special.pad, model)
    logits = model(input_ids=ids, attention_mask=is_token, labels=label_ids, use_cache=False).logits
    nats, correct = _compare(logits, label_ids)
    scores = []
    for i, row_places in enumerate(places):
        is_text = row_places >= 0
        length = len(row_places)
        scores.append(RowScores(row_places[is_text], nats[i, :length][is_text], correct[i, :length][is_text]))
    return scores


def _places_of_labels(spans: list[tuple[int, int]], first: int) -> np.ndarray:
    """Return where in the row each label stands (int64); -1 for a sentinel and for the end."""
    places = []
    for start, end in spans:
        places += [-1, *range(start + first, end + first)]
    return np.array([*places, -1], np.int64)


def _all_but_first(rows: list[np.ndarray], nats: np.ndarray, correct: np.ndarray) -> list[RowScores]:
    """Return the scores of rows whose tokens but the first have a column each in `nats` and `correct` [B, T - 1]."""
    scores = []
    for i, row in enumerate(rows):
        length = len(row) - 1
        scores.append(RowScores(np.arange(1, len(row)), nats[i, :length], correct[i, :length]))
    return scores


def _padded(rows: list[np.ndarray], pad: int, model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Return rows as int64 [B, T] on the model's device, padded, and which positions are tokens (bool [B, T])."""
    lengths = np.array([len(row) for row in rows])
    ids = np.full((len(rows), lengths.max()), pad, np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    is_token = np.arange(ids.shape[1])[None, :] < lengths[:, None]
    return torch.from_numpy(ids).to(model.device), torch.from_numpy(is_token).to(model.device)


def _compare(logits_BTV: Tensor, labels_BT: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the nats (float64 [B, T]) of the labels, and whether each was the likeliest."""
    flat_nats = F.cross_entropy(logits_BTV.float().flatten(0, 1), labels_BT.flatten(), reduction="none")
    nats_BT = flat_nats.view_as(labels_BT).double()
    correct_BT = logits_BTV.argmax(-1) == labels_BT
    return nats_BT.cpu().numpy(), correct_BT.cpu().numpy()
