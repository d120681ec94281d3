"""Batches of packed rows in an order that is a pure function of (seed, step).

All epochs form one endless stream of rows, each epoch a permutation of its own; step k takes the rows from
k * batch_size on, so every batch is full and a run can go on from any step without replaying. There are no worker
processes (rows are memory-mapped) and no global generator.

Shapes: B rows, T context.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import lightning
import numpy as np
import torch
from torch import Tensor

from privllm.core.seed import seed_of
from privllm.model.causal import PAD
from privllm.tokens.rows import Rows

IGNORED = -100  # label of a position that is padding

Batch = tuple[Tensor, Tensor]  # inputs [B, T] int64, labels [B, T] int64


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    """The order of rows in an epoch: int64 [rows]."""
    return np.random.Generator(np.random.PCG64(seed_of("order", seed, epoch))).permutation(rows)


def rows_of_step(seed: int, step: int, batch_size: int, rows: int) -> np.ndarray:
    """Which rows make the batch of `step` (from 0): int64 [batch_size]."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return np.array([permutation(seed, place // rows, rows)[place % rows] for place in places])


def make_batch(rows: Rows, indices: np.ndarray) -> Batch:
    """Inputs and next-token labels; padding is told by length, so a pad id inside a row would be learnt."""
    tokens = torch.from_numpy(rows.batch(indices, PAD)).long()
    lengths = torch.tensor([len(rows.tokens(int(i))) for i in indices])
    beyond = torch.arange(1, tokens.shape[1])[None, :] >= lengths[:, None]
    return tokens[:, :-1], tokens[:, 1:].masked_fill(beyond, IGNORED)


def held_out_batches(rows: Rows, limit: int, batch_size: int) -> Iterator[Batch]:
    """At most `limit` rows, evenly spaced over the split, in batches of one shape: the last is filled up with ignored rows."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(np.int64))
    for start in range(0, len(chosen), batch_size):
        indices = chosen[start : start + batch_size]
        inputs, labels = make_batch(rows, np.resize(indices, batch_size))
        labels[len(indices) :] = IGNORED
        yield inputs, labels


class Stream:
    """What Lightning takes for a data loader: batches from the current step on, without end."""

    def __init__(self, rows: Rows, batch_size: int, seed: int, first_step: Callable[[], int]) -> None:
        self.rows, self.batch_size, self.seed, self.first_step = rows, batch_size, seed, first_step

    def __iter__(self) -> Iterator[Batch]:
        step = self.first_step()
        while True:
            yield make_batch(self.rows, rows_of_step(self.seed, step, self.batch_size, len(self.rows)))
            step += 1


class PackedData(lightning.LightningDataModule):
    """The training stream and the held-out rows."""

    def __init__(self, train: Rows, validation: Rows, batch_size: int, seed: int) -> None:
        super().__init__()
        self.train, self.validation, self.batch_size, self.seed = train, validation, batch_size, seed

    def train_dataloader(self) -> Stream:
        return Stream(self.train, self.batch_size, self.seed, self._step)

    def _step(self) -> int:
        assert self.trainer is not None
        return self.trainer.global_step
