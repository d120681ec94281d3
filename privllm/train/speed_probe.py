"""A measured speed: how many positions a model of some shape trains on in a second, on this machine.

It runs whole steps (forward, backward, optimiser) on random tokens for a few seconds. Data, held-out passes, checkpoints, and what
tokens learn from each other are left out; they take a few per cent.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from privllm.core.families import TRAITS
from privllm.core.special_tokens import own_ids
from privllm.models.devices import judging, place
from privllm.models.loading import MODELS, build
from privllm.models.vocabulary import IGNORED
from privllm.train.config import TrainConfig
from privllm.train.lightning_module import make_optimizer

PROBE_SECONDS = 3.0
LEAST_STEPS = 2  # measured ones; one more before them is not
LEARNT = 0.3  # share of a row that a masked model learns, which an encoder-decoder writes


def tokens_per_second(
    family: str,
    shape: Any,
    cfg: TrainConfig,
    vocabulary: int,
    context: int,
    seconds: float = PROBE_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the positions a second of training a fresh model; `shape` is the family's `model` section."""
    model: Any = build(family, shape, own_ids(vocabulary), context, cfg.seed)
    place(model).train()
    optimizer = make_optimizer(model, cfg)
    batch = [tensor.to(model.device) for tensor in _random_batch(family, cfg.batch_size, context, vocabulary)]
    steps, began = -1, 0.0
    while True:
        with judging(cfg.precision):
            loss = MODELS[family].loss(model, tuple(batch), "mean")
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # a GPU has finished then
        steps += 1
        if steps == 0:
            began = clock()  # the first step allocates
        elapsed = clock() - began
        if steps >= LEAST_STEPS and elapsed >= seconds:
            return steps * cfg.batch_size * context / elapsed


def _random_batch(family: str, rows: int, context: int, vocabulary: int) -> tuple[Tensor, ...]:
    """Return a batch in the form of the family's loss; each row is one document."""
    generator = torch.Generator().manual_seed(0)
    inputs_BT = torch.randint(vocabulary, (rows, context), generator=generator)
    traits = TRAITS[family]
    positions_BT = torch.arange(context).repeat(rows, 1)
    if traits.continues_text:
        return inputs_BT, positions_BT, inputs_BT
    learnt = max(1, round(LEARNT * context))
    if traits.writes_separately:
        written_BL = inputs_BT[:, :learnt].contiguous()
        return inputs_BT, torch.ones_like(inputs_BT), written_BL, torch.ones_like(written_BL), written_BL
    labels_BT = torch.full_like(inputs_BT, IGNORED)
    labels_BT[:, :learnt] = inputs_BT[:, :learnt]
    return inputs_BT, positions_BT, labels_BT
