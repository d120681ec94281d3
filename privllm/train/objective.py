"""The objective of a training: batches, and the loss of a model on one. The loop (`loop`) needs nothing else of a task.

Pretraining's are in `pretrain_objectives`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor
from transformers import PreTrainedModel

from privllm.models.blocks import blocks
from privllm.models.vocabulary import IGNORED
from privllm.train.batches import Batch
from privllm.train.spelling_parts import SpellingParts
from privllm.train.step_parts import WHOLE, Part, StepBatch, cut, positions_of, rows_at_once


class Objective(ABC):
    """A model and its training task. `section` is where its knobs stand in params.yaml, for messages."""

    started = False  # whether what the model can do before its first step is worth a point of the curve
    # The parts by which embeddings that begin at random learn from each other, beside Muon; they decay then too. None for a model that
    # was trained before, in which tokens that are read no more would fade.
    spelling_parts: SpellingParts | None = None
    damping = 0.0  # of the embeddings' steps where their gradients are small, >= 0 (`muon`)
    positions_at_once = 0  # that go through the model at most, but for one row of more; 0: all of a batch
    processes = 1  # that share the rows of a step

    def __init__(self, model: PreTrainedModel, section: str) -> None:
        self.model = model
        self.section = section

    def use(self, model: PreTrainedModel) -> None:
        """Compute with another model of the same kind from now on."""
        self.model = model

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """Return the training batch of `step` (from 0): a pure function of it."""

    @abstractmethod
    def held_out(self, rest: bool = False) -> Iterator[Batch]:
        """Yield the batches of the held-out loss, the same ones each time: of a sample of the validation split, or of its `rest`."""

    @abstractmethod
    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        """Return the nats over the labels that are not ignored: their "mean", or their "sum"."""

    def step(self, number: int) -> StepBatch:
        """Return what the step of this number (from 0) learns from: a pure function of it."""
        batch = self.batch(number)
        return StepBatch(tuple(self.parts(batch)), self.labels(batch), positions_of(batch))

    def parts(self, batch: Batch) -> list[Part]:
        """Return the parts in which a batch goes through the model, whose losses add up to that of the batch."""
        rows = rows_at_once(batch, self.positions_at_once)
        if self.processes > 1:
            rows = min(rows, max(1, len(batch[0]) // self.processes))  # none of them goes without a part
        labels = self.labels(batch)
        if rows >= len(batch[0]) and labels:  # the mean of no labels would be no number
            return [Part(batch)]
        scale = 1 / max(1, labels)
        return [Part(piece, scale) for piece in cut(batch, rows)]

    def part_loss(self, part: Part) -> Tensor:
        """Return what a part adds to the mean loss of its batch."""
        if part.scale == WHOLE:
            return self.loss(part.batch)
        return part.scale * self.loss(part.batch, "sum")

    def labels(self, batch: Batch) -> int:
        """Return how many labels of the batch count."""
        return int((batch[-1] != IGNORED).sum())

    def compile(self) -> None:
        """Compile what of the model is worth it, block by block: equal blocks share one graph, a third of the time to compile the whole."""
        for block in blocks(self.model):
            block.compile()
