"""The objectives of `align`: replies to imitate, and which of two replies to prefer; beside both, replayed pretraining text.

    Imitate   weight * -log p(reply | prompt)                                                         per token of the replies
    Prefer    weight * -log sigmoid(beta * ((log p(c) - log q(c)) - (log p(r) - log q(r))))           per pair; q is the reference

`Prefer` is DPO (Rafailov et al. 2023, arXiv 2305.18290), c chosen and r rejected. The reference is the model as it comes in: its
log-probabilities are taken once, before the first step, so it need not stay in memory, and a resumed run takes the same ones from the same
start. Rows of pretraining go through the same step against forgetting, their loss times `replay`. Shapes: B lessons, R rows, T tokens.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.models.reply_likelihood import ReplyPair, log_probabilities, rows_of, token_nats
from privllm.train.batches import Batch, held_out_batches, rows_of_step
from privllm.train.config import TrainConfig
from privllm.train.objective import Objective
from privllm.train.pretrain_objectives import NextToken
from privllm.train.step_parts import Part, cut, part_size, positions_of, rows_at_once

TEXT = "text"  # the term of replayed rows


class EncodedLesson(NamedTuple):
    """A lesson as ids."""

    prompt: list[int]
    replies: list[list[int]]  # one to imitate; or the chosen and the rejected one
    weight: float


class LossTerms(NamedTuple):
    """What a loss has besides lessons."""

    text: NextToken  # pretraining that goes on beside them
    replay: float  # weight of its loss; 0 = none
    beta: float = 0.1  # of `Prefer`: how closely it holds to the reference


class LessonObjective(Objective):
    """(inputs [R, T], labels [R, T], is_reply [R, T] bool, weights [B], ...) and, while training, those of replayed rows."""

    lesson_tensors = 4  # of a batch; replayed rows stand behind them

    def __init__(
        self,
        model: PreTrainedModel,
        cfg: TrainConfig,
        section: str,
        train: Sequence[EncodedLesson],
        validation: Sequence[EncodedLesson],
        terms: LossTerms,
    ) -> None:
        super().__init__(model, section)
        self.cfg = cfg
        self.terms = terms
        self.train = self.prepare(train)
        self.validation = self.prepare(validation)

    def use(self, model: PreTrainedModel) -> None:
        super().use(model)
        self.terms.text.use(model)

    def batch(self, step: int) -> Batch:
        cfg = self.cfg
        drawn = rows_of_step(cfg.seed, step, cfg.batch_size, len(self.train))
        lessons = self.make([self.train[index] for index in drawn.rows])
        if not self.terms.replay:
            return lessons
        return (*lessons, *self.terms.text.batch(step))

    def held_out(self, rest: bool = False) -> Iterator[Batch]:
        cfg = self.cfg
        for examples in held_out_batches(self.validation, cfg.validation_rows, cfg.batch_size, rest):
            yield self.make(examples)

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        """Return the mean of the lessons' loss, with that of the replayed rows where there are any.

        With `reduction` "sum" it is the sum over the lessons alone.
        """
        lesson_sum = self.lesson_loss(batch[: self.lesson_tensors])
        if reduction == "sum":
            return lesson_sum
        loss = lesson_sum / max(1, self.labels(batch))
        if len(batch) > self.lesson_tensors:
            loss = loss + self.terms.replay * self.terms.text.loss(batch[self.lesson_tensors :])
        return loss

    def parts(self, batch: Batch) -> list[Part]:
        """Return the parts of a batch: one where all of it goes through the model at once, else those of lessons and of text."""
        lessons, text = batch[: self.lesson_tensors], batch[self.lesson_tensors :]
        positions = positions_of(lessons) + (positions_of(text) if text else 0)
        fits = not self.positions_at_once or positions <= self.positions_at_once
        if fits and self.processes == 1:
            return [Part(batch)]
        scale = 1 / max(1, self.labels(batch))
        parts = [Part(piece, scale) for piece in self.cut(lessons, self._positions(lessons))]
        if text:
            scale_of_text = self.terms.replay / max(1, self.terms.text.labels(text))
            rows = rows_at_once(text, self._positions(text))
            parts += [Part(piece, scale_of_text, TEXT) for piece in cut(text, rows)]
        return parts

    def _positions(self, batch: Batch) -> int:
        """Return how many positions of a batch go through the model at once, so that each process has some."""
        share = max(1, positions_of(batch) // self.processes)
        return min(share, self.positions_at_once or share)

    def part_loss(self, part: Part) -> Tensor:
        if part.term == TEXT:
            return part.scale * self.terms.text.loss(part.batch, "sum")
        return super().part_loss(part)

    def cut(self, lessons: Batch, positions: int) -> Iterator[Batch]:
        """Yield lessons of at most `positions` positions at a time, at least one."""
        yield from cut(lessons, rows_at_once(lessons, positions))

    def prepare(self, lessons: Sequence[EncodedLesson]) -> list:
        """Return the lessons in the form that `make` takes."""
        return list(lessons)

    @abstractmethod
    def make(self, lessons: Sequence) -> Batch:
        """Return the batch of these lessons."""

    @abstractmethod
    def lesson_loss(self, batch: Batch) -> Tensor:
        """Return the sum over a batch's lessons of the loss of each times its weight."""


class Imitate(LessonObjective):
    """Supervised fine-tuning on the first reply of each lesson."""

    def make(self, lessons: Sequence[EncodedLesson]) -> Batch:
        exchanges = [(lesson.prompt, lesson.replies[0]) for lesson in lessons]
        weights = torch.tensor([lesson.weight for lesson in lessons])
        return (*rows_of(exchanges), weights)

    def lesson_loss(self, batch: Batch) -> Tensor:
        *rows, weights_B = batch
        nats_B = token_nats(self.model, *rows).sum(1)
        return (nats_B * weights_B).sum()

    def labels(self, batch: Batch) -> int:
        _, _, is_reply_RT, _ = batch[: self.lesson_tensors]
        return int(is_reply_RT.sum())


class WeightedPair(NamedTuple):
    """A pair of replies with what the reference model says of it."""

    pair: ReplyPair
    weight: float
    reference: float  # log q(chosen) - log q(rejected)


class Prefer(LessonObjective):
    """Direct preference optimisation.

    Rows [2B, T] are the chosen replies and then the rejected ones; the fifth tensor is the reference, [B].
    """

    lesson_tensors = 5

    def prepare(self, lessons: Sequence[EncodedLesson]) -> list[WeightedPair]:
        pairs = [ReplyPair(lesson.prompt, *lesson.replies) for lesson in lessons]
        exchanges = []
        for pair in pairs:
            exchanges += [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]
        likelihoods = log_probabilities(self.model, exchanges, self.cfg.batch_size)
        references = likelihoods.total.reshape(-1, 2) @ np.array([1.0, -1.0])
        prepared = []
        for pair, lesson, reference in zip(pairs, lessons, references, strict=True):
            prepared.append(WeightedPair(pair, lesson.weight, float(reference)))
        return prepared

    def make(self, lessons: Sequence[WeightedPair]) -> Batch:
        chosen = [(lesson.pair.prompt, lesson.pair.chosen) for lesson in lessons]
        rejected = [(lesson.pair.prompt, lesson.pair.rejected) for lesson in lessons]
        weights = torch.tensor([lesson.weight for lesson in lessons])
        references = torch.tensor([lesson.reference for lesson in lessons])
        return (*rows_of(chosen + rejected), weights, references)

    def cut(self, lessons: Batch, positions: int) -> Iterator[Batch]:
        *rows, weights_B, reference_B = lessons
        pairs = len(weights_B)
        most = positions // (2 * lessons[0].shape[1])
        at_once = part_size(pairs, max(1, most))
        for start in range(0, pairs, at_once):
            of_pair = slice(start, start + at_once)
            both = [torch.cat([tensor[:pairs][of_pair], tensor[pairs:][of_pair]]) for tensor in rows]
            yield (*both, weights_B[of_pair], reference_B[of_pair])

    def lesson_loss(self, batch: Batch) -> Tensor:
        *rows, weights_B, reference_B = batch
        nats_2B = token_nats(self.model, *rows).sum(1)
        chosen_nats_B, rejected_nats_B = nats_2B.chunk(2)
        losses_B = dpo_loss(rejected_nats_B - chosen_nats_B, reference_B, self.terms.beta)
        return (weights_B * losses_B).sum()

    def labels(self, batch: Batch) -> int:
        weights_B = batch[3]
        return len(weights_B)


def dpo_loss(policy_B: Tensor, reference_B: Tensor, beta: float) -> Tensor:
    """Return DPO's loss [B] of how much likelier, in nats, the chosen reply is to the model and to its reference."""
    return -F.logsigmoid(beta * (policy_B - reference_B))
