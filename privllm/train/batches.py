"""Which rows make which batch: an order that is a pure function of (seed, step).

All epochs form one endless stream of rows, each epoch a permutation of its own; step k takes the rows from
k * batch_size on, so every batch is full and a run can go on from any step without replaying. There is no global
generator, so it does not matter which process makes a batch. What a batch is made into, an objective decides.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from privllm.core.seed import seed_of
from privllm.tokens.rows import Rows

Example = TypeVar("Example")

SHARES = 1_000_000  # a share is a whole number of these, so that what is due at a place is exact

Batch = tuple[Tensor, ...]  # [B, ...] each, the labels (int64, IGNORED where there is none) last


def generator_of(*names: str | int) -> np.random.Generator:
    """Return a generator of random numbers that are a pure function of `names`."""
    return np.random.Generator(np.random.PCG64(seed_of(*names)))


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return the order of rows in an epoch: int64 [rows]."""
    return generator_of("order", seed, epoch).permutation(rows)


class Drawn(NamedTuple):
    """The rows of a batch, and in which epoch each is read, from 0: int64 [batch_size] each."""

    rows: np.ndarray
    epochs: np.ndarray


def rows_of_step(seed: int, step: int, batch_size: int, rows: int) -> Drawn:
    """Return the rows of the batch of `step` (from 0)."""
    places = range(step * batch_size, (step + 1) * batch_size)
    return _drawn(_row_at(seed, rows, place) for place in places)


def shifts(seed: int, drawn: Drawn, rows: Rows) -> np.ndarray:
    """Return how many tokens further on each row is cut: int64 [batch_size], below the context; 0 of a row without neighbours.

    In the first epoch a text is cut as `pack` did it. Later all rows of a run are cut by one number, drawn for that epoch, so all its
    tokens are still read once each. Windows of other places each time are an old remedy against learning by heart (nanoGPT draws them at
    random, github.com/karpathy/nanoGPT).
    """
    found = np.zeros(len(drawn.rows), np.int64)
    for place, (row, epoch) in enumerate(zip(*drawn, strict=True)):
        if epoch and (run := rows.run_of(int(row))):
            found[place] = generator_of("cut", seed, int(epoch), run.first).integers(rows.row_length - 1)
    return found


class Kinds(NamedTuple):
    """Rows by whether the model that training starts with knows them: int64, ascending."""

    known: np.ndarray
    new: np.ndarray


def replayed(seed: int, step: int, batch_size: int, kinds: Kinds, replay: float) -> Drawn:
    """Return the rows of the batch of `step`.

    Of the first n places of the stream the share `replay`, rounded down, are of known rows, the others of new ones,
    each kind in an order of its own. With `replay` 1, or rows of one kind only, all rows are treated alike.
    """
    if replay == 1 or not len(kinds.known) or not len(kinds.new):
        return rows_of_step(seed, step, batch_size, len(kinds.known) + len(kinds.new))
    shares = round(replay * SHARES)
    drawn = []
    for place in range(step * batch_size, (step + 1) * batch_size):
        replayed_before = place * shares // SHARES
        replayed_after = (place + 1) * shares // SHARES
        if replayed_after > replayed_before:
            name, rows, place_of_kind = "known", kinds.known, replayed_before
        else:
            name, rows, place_of_kind = "new", kinds.new, place - replayed_before
        number, epoch = _row_at(seed_of(name, seed), len(rows), place_of_kind)
        drawn.append((rows[number], epoch))
    return _drawn(drawn)


def _row_at(seed: int, rows: int, place: int) -> tuple[int, int]:
    """Return which of `rows` stands at a place of their endless stream, and in which epoch."""
    epoch, place_in_epoch = divmod(place, rows)
    return permutation(seed, epoch, rows)[place_in_epoch], epoch


def _drawn(rows_and_epochs: Iterable[tuple[int, int]]) -> Drawn:
    rows, epochs = zip(*rows_and_epochs, strict=True)
    return Drawn(np.array(rows), np.array(epochs))


def spread(rows: int, limit: int) -> np.ndarray:
    """Return at most `limit` of `rows` indices, evenly spaced: int64, ascending."""
    positions = np.linspace(0, rows - 1, min(limit, rows))
    indices = positions.round().astype(np.int64)
    return np.unique(indices)


def held_out_indices(count: int, limit: int, rest: bool) -> np.ndarray:
    """Return a sample of at most `limit` of `count` indices, evenly spaced, or the `rest`: int64, ascending."""
    sample = spread(count, limit)
    return np.setdiff1d(np.arange(count), sample) if rest else sample


def held_out_batches(examples: Sequence[Example], limit: int, size: int, rest: bool) -> Iterator[list[Example]]:
    """Yield a sample of at most `limit` examples, evenly spaced, or the `rest`, `size` at a time."""
    selected = [examples[index] for index in held_out_indices(len(examples), limit, rest)]
    for start in range(0, len(selected), size):
        yield selected[start : start + size]


def fill(sequences: Sequence[np.ndarray], value: int) -> Tensor:
    """Return sequences of different lengths as int64 [B, longest], padded with `value`; at least one place wide."""
    longest = max(1, *(len(sequence) for sequence in sequences))
    filled = np.full((len(sequences), longest), value, np.int64)
    for row, sequence in zip(filled, sequences, strict=True):
        row[: len(sequence)] = sequence
    return torch.from_numpy(filled)


def within(lengths_B: Tensor, width: int) -> Tensor:
    """Return which of `width` places lie within each length: bool [B, width]."""
    places = torch.arange(width)
    return places[None, :] < lengths_B[:, None]
