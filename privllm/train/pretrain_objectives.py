"""What pretraining learns from packed rows, family by family.

causal     every next token
masked     the tokens that `masking` covered
seq2seq    the spans that `corruption` cut out

What chance decides for a training batch is a function of (seed, step), for a held-out batch of its place alone, so held-out losses of
different seeds are about the same holes. Shapes: B rows, T context, D width, V vocabulary.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from privllm.core.special_tokens import SpecialIds
from privllm.models.causal import CAUSAL_MODEL, head_loss, next_token_loss
from privllm.models.family_model import FamilyModel, Loss
from privllm.models.masked import MASKED_MODEL
from privllm.models.masking import choose, cover
from privllm.models.seq2seq import SEQ2SEQ_MODEL
from privllm.models.span_corruption import cut_out, holes
from privllm.models.vocabulary import IGNORED
from privllm.models.word_units import Lexicon
from privllm.tokens.copied_tokens import CopiedTokens
from privllm.tokens.rows import Rows, TrainingRows
from privllm.tokens.token_annotations import Guide
from privllm.train.batches import (
    Batch,
    Drawn,
    Kinds,
    fill,
    generator_of,
    held_out_indices,
    replayed,
    rows_of_step,
    shifts,
)
from privllm.train.budget import MOST_EPOCHS
from privllm.train.objective import Objective

# Of steps of tokens, for each time that a text is read again, and at least once: the more often, the more of what is learnt is chance.
# Of less than an epoch, causal and seq2seq models learn a little worse with it, masked ones better (reports/LOG.md).
DAMPING = 4.0


class Split(NamedTuple):
    """Rows, their token annotations (masked only), and which of them the base model was trained on; None where not needed."""

    rows: Rows
    guide: Guide | None = None
    kinds: Kinds | None = None
    copied: CopiedTokens | None = None  # of held-out rows: read, but no labels

    def counted(self, index: int) -> np.ndarray:
        """Return which tokens of a row count where they are labels: bool."""
        length = len(self.rows.tokens(index))
        if self.copied is None:
            return np.ones(length, bool)
        return ~self.copied.in_row(self.rows.pieces(index), length)


class Packed(Objective):
    """Batches of packed rows; `special` and `spelling` (of each token in bytes) are of the tokenizer that packed them."""

    family_model: FamilyModel
    is_always_damped = False

    def __init__(
        self,
        model: PreTrainedModel,
        cfg: Any,
        train: Split,
        validation: Split,
        special: SpecialIds,
        spelling: Mapping[int, bytes] = MappingProxyType({}),
    ) -> None:
        super().__init__(model, f"pretrain.{self.family_model.name}")
        self.loss_of: Loss = self.family_model.loss
        self.cfg = cfg
        self.train = train
        self.validation = validation
        self.special = special
        self.spelling = spelling
        is_damped = cfg.epochs >= 1 or self.is_always_damped
        read_again = min(cfg.epochs, MOST_EPOCHS) - 1
        self.damping = DAMPING * max(1.0, read_again) if is_damped else 0.0

    def batch(self, step: int) -> Batch:
        return self.make(self.train, self.drawn(step).rows, generator_of("noise", self.cfg.seed, step))

    def drawn(self, step: int) -> Drawn:
        """Return the training rows that a step reads."""
        cfg, kinds = self.cfg, self.train.kinds
        if kinds is None:
            return rows_of_step(cfg.seed, step, cfg.batch_size, len(self.train.rows))
        return replayed(cfg.seed, step, cfg.batch_size, kinds, cfg.replay)

    def held_out(self, rest: bool = False) -> Iterator[Batch]:
        """Yield at most `validation_rows`, evenly spaced over the split, or the `rest` of it, in batches of one shape.

        The last batch is filled up with ignored rows. Rows of copied tokens alone are left out.
        """
        rows = self.held_out_rows
        selected = rows[held_out_indices(len(rows), self.cfg.validation_rows, rest)]
        others = len(rows) - len(selected) if rest else 0  # whose noise is another
        size = self.cfg.batch_size
        for start in range(0, len(selected), size):
            indices = selected[start : start + size]
            chance = generator_of("held-out noise", others + start)
            batch = self.make(self.validation, np.resize(indices, size), chance)
            labels = batch[-1]
            labels[len(indices) :] = IGNORED
            yield batch

    @cached_property
    def held_out_rows(self) -> np.ndarray:
        """The validation rows with a token that counts, int64, ascending."""
        rows = range(len(self.validation.rows))
        if self.validation.copied is None:
            return np.array(rows)
        # the boundary at its start counts in every row
        return np.array([index for index in rows if self.validation.counted(index)[1:].any()])

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        return self.loss_of(self.model, batch, reduction)

    @abstractmethod
    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        """Return the batch of these rows."""


class NextToken(Packed):
    """(inputs [B, T], positions [B, T], labels [B, T])

    The other families draw new holes each epoch; this one cuts long documents elsewhere from the second on.
    """

    family_model = CAUSAL_MODEL

    def batch(self, step: int) -> Batch:
        drawn, rows = self.drawn(step), self.train.rows
        cuts = shifts(self.cfg.seed, drawn, rows)
        # Every label counts: copied tokens are left out of held-out rows alone.
        return _tensors(rows.training_rows(drawn.rows, self.special, IGNORED, cuts))

    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        training_rows = split.rows.training_rows(indices, self.special, IGNORED)
        for row, index in enumerate(indices.tolist()):
            of_row = training_rows.labels[row, : len(split.rows.tokens(index)) - 1]
            is_end = of_row == self.special.end  # in the place of the token before a chunk from within a document
            of_row[~split.counted(index)[1:] & ~is_end] = IGNORED
        return _tensors(training_rows)

    def compile(self) -> None:
        super().compile()
        self.loss_of = partial(next_token_loss, head=torch.compile(head_loss))


class Gaps(Packed):
    """(inputs [B, T], positions [B, T], labels [B, T])"""

    family_model = MASKED_MODEL
    is_always_damped = True

    @cached_property
    def lexicon(self) -> Lexicon:
        return Lexicon(self.spelling, frozenset(self.special.special))

    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        assert split.guide is not None
        inputs, positions, _ = split.rows.training_rows(indices, self.special, IGNORED)
        labels = np.full(inputs.shape, IGNORED, np.int64)
        for row, index in enumerate(indices.tolist()):
            tokens = split.rows.tokens(index)[:-1]
            length = len(tokens)
            pos, span = split.guide.row(index, length)
            is_chosen = choose(self.cfg.masking, tokens, self.lexicon, pos, span, self.special, chance)
            inputs[row, :length] = cover(tokens, is_chosen, self.special, chance)
            is_label = is_chosen & split.counted(index)[:-1]
            labels[row, :length] = np.where(is_label, tokens, IGNORED)
        return torch.from_numpy(inputs), torch.from_numpy(positions), torch.from_numpy(labels)


class Spans(Packed):
    """(inputs [B, S], their chunks [B, S], the decoder's inputs [B, L], their chunks [B, L], labels [B, L])

    Each chunk is corrupted for itself, and numbered from 1 in its row; padding is chunk 0.
    """

    family_model = SEQ2SEQ_MODEL

    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        rows = [self._corrupted(split, index, chance) for index in indices.tolist()]
        inputs, input_chunks, decoder_inputs, decoder_chunks, labels = zip(*rows, strict=True)
        return (
            fill(inputs, self.special.pad),
            fill(input_chunks, 0),
            fill(decoder_inputs, self.special.pad),
            fill(decoder_chunks, 0),
            fill(labels, IGNORED),
        )

    def _corrupted(self, split: Split, index: int, chance: np.random.Generator) -> list[np.ndarray]:
        """Return one row of each tensor of the batch. A chunk of one token is only read."""
        rows = split.rows
        first_read: Any = self.model.config.decoder_start_token_id
        nothing = np.zeros(0, np.int64)
        row: list[list[np.ndarray]] = [[nothing] for _ in range(5)]
        later_starts = rows.chunk_starts(index)[1:]
        chunks = np.split(rows.tokens(index)[:-1], later_starts)
        counted_in_chunks = np.split(split.counted(index)[:-1], later_starts)
        for number, (tokens, is_counted) in enumerate(zip(chunks, counted_in_chunks, strict=True), start=1):
            inputs, written, labels = tokens, nothing, nothing
            if len(tokens) > 1:
                spans = holes(self.cfg.corruption, len(tokens), chance)
                inputs, written = cut_out(tokens, spans, self.special)
                _, labels = cut_out(np.where(is_counted, tokens, IGNORED), spans, self.special)
            decoder_inputs = np.append(first_read, written)[: len(written)]
            parts = (inputs, np.full(len(inputs), number), decoder_inputs, np.full(len(labels), number), labels)
            for tensor, part in zip(row, parts, strict=True):
                tensor.append(part)
        return [np.concatenate(tensor) for tensor in row]


def _tensors(rows: TrainingRows) -> Batch:
    return tuple(torch.from_numpy(array) for array in rows)


# by the name of the family
OBJECTIVES: dict[str, type[Packed]] = {
    CAUSAL_MODEL.name: NextToken,
    MASKED_MODEL.name: Gaps,
    SEQ2SEQ_MODEL.name: Spans,
}
