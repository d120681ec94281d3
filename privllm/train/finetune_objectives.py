"""The objectives of fine-tuning: the labels of encoded examples, kind by kind.

Batches are padded to their longest example; padding is never a label and never attended to, so the loss of a batch is
the sum of its rows' losses. Shapes: B rows, T tokens, L tokens of an answer, C classes, N labels that count, V vocabulary.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.core.families import TRAITS
from privllm.models.causal import logits_of, reply_loss
from privllm.models.vocabulary import IGNORED
from privllm.train.batches import Batch, fill, held_out_batches, rows_of_step, within
from privllm.train.config import TrainConfig
from privllm.train.example_encoding import Encoded
from privllm.train.objective import Objective


class Supervised(Objective):
    """(inputs [B, T], attention mask [B, T] bool, labels [B, 1 | T | L])"""

    def __init__(
        self,
        model: PreTrainedModel,
        cfg: TrainConfig,
        train: Sequence[Encoded],
        validation: Sequence[Encoded],
        pad: int,
        section: str,
    ) -> None:
        super().__init__(model, section)
        self.cfg = cfg
        self.train = train
        self.validation = validation
        self.pad = pad

    def batch(self, step: int) -> Batch:
        cfg = self.cfg
        drawn = rows_of_step(cfg.seed, step, cfg.batch_size, len(self.train))
        return self.make([self.train[index] for index in drawn.rows])

    def held_out(self, rest: bool = False) -> Iterator[Batch]:
        cfg = self.cfg
        for examples in held_out_batches(self.validation, cfg.validation_rows, cfg.batch_size, rest):
            yield self.make(examples)

    def make(self, examples: Sequence[Encoded]) -> Batch:
        """Return the batch of these examples."""
        inputs = fill([example.inputs for example in examples], self.pad)
        lengths = torch.tensor([len(example.inputs) for example in examples])
        attended = within(lengths, inputs.shape[1])
        labels = fill([example.labels for example in examples], IGNORED)
        return inputs, attended, labels

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        labels = batch[-1]
        logits_NC, is_label = self.logits(batch)
        return F.cross_entropy(logits_NC.float(), labels[is_label], reduction=reduction)

    @abstractmethod
    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return ([N, C], which labels count: bool, in the shape of the labels)."""


class OneLabel(Supervised):
    """A class for each text: labels [B, 1]."""

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs_BT, attended_BT, labels_B1 = batch
        logits_BC = self.model(input_ids=inputs_BT, attention_mask=attended_BT).logits
        return logits_BC, torch.ones_like(labels_B1, dtype=torch.bool)


class LabelPerToken(Supervised):
    """A tag for one piece of each word: labels [B, T]."""

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs_BT, attended_BT, labels_BT = batch
        is_label_BT = labels_BT != IGNORED
        logits_BTC = self.model(input_ids=inputs_BT, attention_mask=attended_BT).logits
        return logits_BTC[is_label_BT], is_label_BT


class ReplyObjective(Supervised):
    """Replies that continue their prompt: labels [B, T] are next tokens. Padding stands behind, where no token looks."""

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs_BT, _, labels_BT = batch
        is_label_BT = labels_BT != IGNORED
        hidden_BTD = self.model.base_model(input_ids=inputs_BT, use_cache=False).last_hidden_state
        return logits_of(self.model, hidden_BTD[is_label_BT]), is_label_BT

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        inputs_BT, _, labels_BT = batch
        is_label_BT = labels_BT != IGNORED
        hidden_BTD = self.model.base_model(input_ids=inputs_BT, use_cache=False).last_hidden_state
        return reply_loss(self.model, hidden_BTD[is_label_BT], labels_BT[is_label_BT], reduction)


class SeparateReplyObjective(Supervised):
    """Replies that an encoder-decoder writes: labels [B, L]."""

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs_BT, attended_BT, labels_BL = batch
        is_label_BL = labels_BL != IGNORED
        output = self.model(input_ids=inputs_BT, attention_mask=attended_BT, labels=labels_BL, use_cache=False)
        return output.logits[is_label_BL], is_label_BL


LABELLERS: dict[str, type[Supervised]] = {"classification": OneLabel, "tokens": LabelPerToken}


def objective_for(kind: str, family: str) -> type[Supervised]:
    """Return the class of objective for a kind of task and the family that learns it."""
    if kind in LABELLERS:
        return LABELLERS[kind]
    return SeparateReplyObjective if TRAITS[family].writes_separately else ReplyObjective
