"""What aligning learns: replies to imitate, and which of two replies to prefer; beside both, what was pretrained on.

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

from privllm.models.reply_likelihood import Pair, log_probabilities, rows_of, token_nats
from privllm.train.batches import Batch, rows_of_step, spread
from privllm.train.config import TrainConfig
from privllm.train.objective import Objective
from privllm.train.pretrain_objectives import NextToken


class Shown(NamedTuple):
    """A lesson as ids."""

    prompt: list[int]
    replies: list[list[int]]  # one to imitate; or the chosen and the rejected one
    weight: float


class Terms(NamedTuple):
    """What a loss has besides lessons."""

    text: NextToken  # pretraining that goes on beside them
    replay: float  # weight of its loss; 0 = none
    beta: float = 0.1  # of `Prefer`: how closely it holds to the reference


class Lessoned(Objective):
    """(inputs [R, T], labels [R, T], wanted [R, T] bool, weights [B], ...) and, while training, (inputs, labels) of replayed rows."""

    parts = 4  # of a batch that are not replayed rows

    def __init__(
        self, model: PreTrainedModel, cfg: TrainConfig, section: str, train: Sequence[Shown], validation: Sequence[Shown], terms: Terms
    ) -> None:
        super().__init__(model, section)
        self.cfg, self.terms = cfg, terms
        self.train, self.validation = self.prepare(train), self.prepare(validation)

    def batch(self, step: int) -> Batch:
        chosen = rows_of_step(self.cfg.seed, step, self.cfg.batch_size, len(self.train))
        own = self.make([self.train[i] for i in chosen])
        return (*own, *self.terms.text.batch(step)) if self.terms.replay else own

    def held_out(self) -> Iterator[Batch]:
        chosen = spread(len(self.validation), self.cfg.validation_rows)
        for start in range(0, len(chosen), self.cfg.batch_size):
            yield self.make([self.validation[i] for i in chosen[start : start + self.cfg.batch_size]])

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        """The mean of the lessons' loss, with that of the replayed rows where there are any; or the sum over the lessons alone."""
        own = self.lesson_loss(batch[: self.parts])
        if reduction == "sum":
            return own
        loss = own / max(1, self.labels(batch))
        if len(batch) > self.parts:
            loss = loss + self.terms.replay * self.terms.text.loss(batch[self.parts :])
        return loss

    def prepare(self, lessons: Sequence[Shown]) -> list:
        """What `make` takes."""
        return list(lessons)

    @abstractmethod
    def make(self, lessons: Sequence) -> Batch:
        """The batch of these lessons."""

    @abstractmethod
    def lesson_loss(self, own: Batch) -> Tensor:
        """The sum over a batch's lessons of what each costs times its weight."""


class Imitate(Lessoned):
    def make(self, lessons: Sequence[Shown]) -> Batch:
        return (*rows_of([(one.prompt, one.replies[0]) for one in lessons]), torch.tensor([one.weight for one in lessons]))

    def lesson_loss(self, own: Batch) -> Tensor:
        *rows, weights_B = own
        return (token_nats(self.model, *rows).sum(1) * weights_B).sum()

    def labels(self, batch: Batch) -> int:
        return int(batch[2].sum())


class Compared(NamedTuple):
    pair: Pair
    weight: float
    reference: float  # log q(chosen) - log q(rejected)


class Prefer(Lessoned):
    """Rows [2B, T] are the chosen replies and then the rejected ones; the fifth part is what the reference says, [B]."""

    parts = 5

    def prepare(self, lessons: Sequence[Shown]) -> list[Compared]:
        pairs = [Pair(one.prompt, *one.replies) for one in lessons]
        said = log_probabilities(self.model, [(pair.prompt, reply) for pair in pairs for reply in pair[1:]], self.cfg.batch_size)
        leads = said.total.reshape(-1, 2) @ np.array([1.0, -1.0])
        return [Compared(pair, one.weight, float(lead)) for pair, one, lead in zip(pairs, lessons, leads, strict=True)]

    def make(self, lessons: Sequence[Compared]) -> Batch:
        pairs = [one.pair for one in lessons]
        rows = rows_of([(pair.prompt, pair.chosen) for pair in pairs] + [(pair.prompt, pair.rejected) for pair in pairs])
        return (*rows, *(torch.tensor([getattr(one, part) for one in lessons]) for part in ("weight", "reference")))

    def lesson_loss(self, own: Batch) -> Tensor:
        *rows, weights_B, reference_B = own
        chosen_B, rejected_B = (-token_nats(self.model, *rows).sum(1)).chunk(2)
        return (weights_B * dpo_loss(chosen_B - rejected_B, reference_B, self.terms.beta)).sum()

    def labels(self, batch: Batch) -> int:
        return len(batch[3])


def dpo_loss(policy_B: Tensor, reference_B: Tensor, beta: float) -> Tensor:
    """[B], of how much likelier the chosen reply is than the rejected one, in nats, to the model and to its reference."""
    return -F.logsigmoid(beta * (policy_B - reference_B))
