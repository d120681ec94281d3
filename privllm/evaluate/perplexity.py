"""How many nats the model needs for each token of the held-out rows.

Every document token is a label in exactly one row (see `tokens.packing`), with up to a whole context before it. Boundaries between
documents are read but not scored. It sums nothing: `slices` does, so every sum is over the same numbers.

Shapes: B rows, T = context, V = vocabulary.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from transformers import Qwen3ForCausalLM

from privllm.core.errors import UserError
from privllm.core.progress import bar
from privllm.core.seed import name_digest
from privllm.model.causal import PAD
from privllm.tokens.rows import Rows


class Scored(NamedTuple):
    """One piece of a document: `nats` (float64) and `correct` (bool) of its tokens from `start` on."""

    id: str
    start: int
    labels: np.ndarray
    nats: np.ndarray
    correct: np.ndarray


def choose_rows(rows: Rows, limit: int) -> np.ndarray:
    """Indices, ascending, of at most `limit` rows that hold a label; which ones depends on what is in them, not on their place."""
    first = [(pieces[0], i) for i in range(len(rows)) if (pieces := rows.pieces(i))]
    order = sorted((name_digest("evaluate", piece["id"], piece["document_start"]), i) for piece, i in first)
    return np.array(sorted(i for _, i in order[:limit]), np.int64)


def score_rows(model: Qwen3ForCausalLM, rows: Rows, indices: np.ndarray, batch_rows: int) -> list[Scored]:
    """The pieces of these rows, in order. Raises UserError when the model's loss is not a number."""
    scored: list[Scored] = []
    with bar("evaluate", total=len(indices)) as advance:
        for begin in range(0, len(indices), batch_rows):
            chosen = indices[begin : begin + batch_rows]
            nats_BT, correct_BT = score_batch(model, rows.batch(chosen, PAD))
            for row, nats, correct in zip(chosen, nats_BT, correct_BT, strict=True):
                scored += _pieces(rows, int(row), nats, correct)
            advance(len(chosen))
    return scored


@torch.inference_mode()
def score_batch(model: Qwen3ForCausalLM, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nats (float64 [B, T]) of tokens[:, 1:] and whether each was the likeliest; `tokens` is int32 [B, T + 1], padded on the right."""
    ids = torch.from_numpy(tokens.astype(np.int64)).to(model.device)
    logits_BTV = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    nats = F.cross_entropy(logits_BTV.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(ids[:, 1:])
    correct = logits_BTV.argmax(-1) == ids[:, 1:]
    return nats.double().cpu().numpy(), correct.cpu().numpy()


def _pieces(rows: Rows, row: int, nats: np.ndarray, correct: np.ndarray) -> list[Scored]:
    found = []
    for piece in rows.pieces(row):
        begin, end = piece["row_start"], piece["row_start"] + piece["tokens"]
        part = Scored(
            piece["id"], piece["document_start"], rows.tokens(row)[begin:end], nats[begin - 1 : end - 1], correct[begin - 1 : end - 1]
        )
        if not np.isfinite(part.nats).all():
            raise UserError(
                f"the model gives document {part.id} a loss that is not a number: its training diverged. "
                "Lower the learning rate in params.yaml and run `dvc repro`."
            )
        found.append(part)
    return found
