"""What pretraining learns from packed rows, family by family.

causal     every next token
masked     the tokens that `masking` covered
seq2seq    the spans that `corruption` cut out

What chance decides for a training batch is a function of (seed, step), for a held-out batch of its place alone, so held-out losses of
different seeds are about the same holes. Shapes: B rows, T context, D width, V vocabulary.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.core.seed import seed_of
from privllm.core.special_tokens import PAD
from privllm.models.masking import Lexicon, choose, cover
from privllm.models.seq2seq import SENTINELS
from privllm.models.span_corruption import cut_out, holes
from privllm.tokens.rows import Rows
from privllm.tokens.token_annotations import Guide
from privllm.train.batches import IGNORED, Batch, Kinds, fill, replayed, rows_of_step, spread
from privllm.train.objective import Objective


def cross_entropy(hidden_BTD: Tensor, weight_VD: Tensor, labels_BT: Tensor, reduction: str) -> Tensor:
    """Of the logits hidden @ weight.T, which a compiler need not keep."""
    logits_BTV = F.linear(hidden_BTD, weight_VD)
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), labels_BT.flatten(), ignore_index=IGNORED, reduction=reduction)


class Split(NamedTuple):
    """Rows, what is known of their tokens beside them (masked only), and which the start was trained on; None where that is no matter."""

    rows: Rows
    guide: Guide | None = None
    kinds: Kinds | None = None


class Packed(Objective):
    """Batches of packed rows; `vocabulary` maps the tokenizer's tokens to ids."""

    family: str

    def __init__(self, model: PreTrainedModel, cfg: Any, train: Split, validation: Split, vocabulary: Mapping[str, int]) -> None:
        super().__init__(model, f"pretrain.{self.family}")
        self.cfg, self.train, self.validation, self.vocabulary = cfg, train, validation, vocabulary

    def batch(self, step: int) -> Batch:
        cfg, kinds = self.cfg, self.train.kinds
        if kinds is None:
            indices = rows_of_step(cfg.seed, step, cfg.batch_size, len(self.train.rows))
        else:
            indices = replayed(cfg.seed, step, cfg.batch_size, kinds, cfg.replay)
        return self.make(self.train, indices, np.random.Generator(np.random.PCG64(seed_of("noise", cfg.seed, step))))

    def held_out(self) -> Iterator[Batch]:
        """At most `validation_rows`, evenly spaced over the split, in batches of one shape: the last is filled up with ignored rows."""
        chosen, size = spread(len(self.validation.rows), self.cfg.validation_rows), self.cfg.batch_size
        for start in range(0, len(chosen), size):
            indices = chosen[start : start + size]
            chance = np.random.Generator(np.random.PCG64(seed_of("held-out noise", start)))
            batch = self.make(self.validation, np.resize(indices, size), chance)
            batch[-1][len(indices) :] = IGNORED
            yield batch

    @abstractmethod
    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        """The batch of these rows."""


class NextToken(Packed):
    """(inputs [B, T], labels [B, T])"""

    family = "causal"
    head = staticmethod(cross_entropy)

    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        """Padding is told by length, so a pad id inside a row would be learnt."""
        tokens = torch.from_numpy(split.rows.batch(indices, PAD)).long()
        lengths = torch.tensor([len(split.rows.tokens(int(i))) for i in indices])
        beyond = torch.arange(1, tokens.shape[1])[None, :] >= lengths[:, None]
        return tokens[:, :-1], tokens[:, 1:].masked_fill(beyond, IGNORED)

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        inputs_BT, labels_BT = batch
        model: Any = self.model
        hidden_BTD = model.model(input_ids=inputs_BT, use_cache=False).last_hidden_state
        return self.head(hidden_BTD, model.lm_head.weight, labels_BT, reduction)

    def compile(self) -> None:
        super().compile()
        self.head = torch.compile(cross_entropy)


class Gaps(Packed):
    """(inputs [B, T], seen [B, T] bool, labels [B, T]); a row's last token, which the next row begins with, is left to that."""

    family = "masked"

    @cached_property
    def lexicon(self) -> Lexicon:
        return Lexicon(self.vocabulary)

    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        length = split.rows.row_length - 1
        inputs, labels = np.full((len(indices), length), PAD, np.int64), np.full((len(indices), length), IGNORED, np.int64)
        seen = np.zeros((len(indices), length), bool)
        for row, i in enumerate(indices):
            tokens = split.rows.tokens(int(i))[:length]
            assert split.guide is not None
            chosen = choose(self.cfg.masking, tokens, self.lexicon, *split.guide.row(int(i), len(tokens)), chance)
            inputs[row, : len(tokens)] = cover(tokens, chosen, self.lexicon.size, chance)
            labels[row, : len(tokens)] = np.where(chosen, tokens, IGNORED)
            seen[row, : len(tokens)] = True
        return torch.from_numpy(inputs), torch.from_numpy(seen), torch.from_numpy(labels)

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        inputs_BT, seen_BT, labels_BT = batch
        mask = None if bool(seen_BT.all()) else seen_BT  # without one, attention keeps its fast kernel
        model: Any = self.model
        hidden_BTD = model.model(input_ids=inputs_BT, attention_mask=mask).last_hidden_state
        wanted_BT = labels_BT != IGNORED
        logits_NV = model.decoder(model.head(hidden_BTD[wanted_BT]))  # the head is half the work, and 7 of 10 need none
        return F.cross_entropy(logits_NV.float(), labels_BT[wanted_BT], reduction=reduction)


class Spans(Packed):
    """(inputs [B, S], seen [B, S] bool, labels [B, L])"""

    family = "seq2seq"

    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        rows = (split.rows.tokens(int(i))[: split.rows.row_length - 1] for i in indices)
        first_sentinel = self.model.config.vocab_size - SENTINELS
        pairs = [cut_out(tokens, holes(self.cfg.corruption, len(tokens), chance), first_sentinel) for tokens in rows]
        inputs, labels = fill([inputs for inputs, _ in pairs], PAD), fill([labels for _, labels in pairs], IGNORED)
        lengths = torch.tensor([len(inputs) for inputs, _ in pairs])
        return inputs, torch.arange(inputs.shape[1])[None, :] < lengths[:, None], labels

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        inputs_BS, seen_BS, labels_BL = batch
        logits_BLV = self.model(input_ids=inputs_BS, attention_mask=seen_BS, labels=labels_BL, use_cache=False).logits
        return F.cross_entropy(logits_BLV.flatten(0, 1).float(), labels_BL.flatten(), ignore_index=IGNORED, reduction=reduction)


OBJECTIVES: dict[str, type[Packed]] = {objective.family: objective for objective in (NextToken, Gaps, Spans)}
