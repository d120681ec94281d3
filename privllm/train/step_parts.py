"""A step's batch on its way through the model: whole where it fits, in parts where its rows are long, made ahead by workers.

The gradient of a step is that of its whole batch, however many parts it goes through in: each part's loss is its share of the mean over
all labels. How many rows are a part follows from the rows and the model, never from what memory happens to be free, so it is the same
on every CPU. Workers are processes that make the batches of the next steps; step k has its batch whoever made it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from privllm.train.batches import Batch

WHOLE = 0.0  # scale of a part that is all there is: its loss is a mean already
MORE_PARTS = 1.5  # times the fewest, for equal ones
AHEAD = 2  # batches that each worker has ready


class Part(NamedTuple):
    """Rows that go through the model at once."""

    batch: Batch
    scale: float = WHOLE  # of the sum of the rows' losses
    term: str = ""  # which of an objective's losses it belongs to, where there are several


class StepBatch(NamedTuple):
    """What one step learns from, counted before it is on a GPU."""

    parts: tuple[Part, ...]
    labels: int  # that count
    positions: int  # read, padding included


def positions_of(batch: Batch) -> int:
    """Return how many positions the model reads in a batch, padding included."""
    return batch[0].numel()


def rows_at_once(batch: Batch, positions: int) -> int:
    """Return how many rows each part of a batch has, at most `positions` but at least one row; all where `positions` is 0."""
    rows, width = batch[0].shape
    return part_size(rows, max(1, positions // width)) if positions else rows


def part_size(count: int, most: int) -> int:
    """Return how large the parts of `count` rows are, at most `most`: equal ones, if that takes at most `MORE_PARTS` times the fewest.

    A smaller last part would take a compiled graph of its own.
    """
    fewest_parts = math.ceil(count / most)
    for size in range(min(count, most), 0, -1):
        if count % size == 0 and count // size <= MORE_PARTS * fewest_parts:
            return size
    return most


def cut(batch: Batch, rows: int) -> Iterator[Batch]:
    """Yield a batch's rows, `rows` at a time."""
    for start in range(0, len(batch[0]), rows):
        yield tuple(tensor[start : start + rows] for tensor in batch)


class Stream:
    """What Lightning takes for a data loader: the batches from the current step on, without end."""

    def __init__(
        self, batch: Callable[[int], Any], first_step: Callable[[], int], workers: int = 0, pin: bool = False
    ) -> None:
        self.batch = batch
        self.first_step = first_step
        self.workers = workers
        self.pin = pin  # in memory from which a GPU can copy while it computes

    def __iter__(self) -> Iterator[Any]:
        step = self.first_step()
        if self.workers:
            yield from self._made_ahead(step)
        while True:
            yield self.batch(step)
            step += 1

    def _made_ahead(self, first: int) -> Iterator[Any]:
        # One thread each, as torch sets it for workers. What they inherit is read only, the model is never touched.
        steps = _Steps(self.batch)
        loader: DataLoader = DataLoader(
            steps,
            sampler=_From(first),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            pin_memory=self.pin,
            multiprocessing_context="fork",
        )
        yield from loader


class _Steps(Dataset):
    """Batches by the number of their step."""

    def __init__(self, batch: Callable[[int], Any]) -> None:
        self.batch = batch

    def __getitem__(self, step: int) -> Any:
        return self.batch(step)


class _From(torch.utils.data.Sampler):
    """The numbers of all steps from one on."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        step = self.first
        while True:
            yield step
            step += 1
