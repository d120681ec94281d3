"""How likely a causal model finds a reply to a prompt, and which of two replies it finds likelier.

It works on token ids; `tokens.chat_format` makes them of messages. Shapes: R rows, T tokens, N tokens that count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from privllm.models.causal import reply_loss

Ids = Sequence[int] | np.ndarray


class ReplyPair(NamedTuple):
    """Two replies to one prompt, each with the token that ends it."""

    prompt: Ids
    chosen: Ids
    rejected: Ids


class ReplyLikelihoods(NamedTuple):
    """Log-probabilities of replies: float64 [replies]."""

    total: np.ndarray  # the sum over the reply's tokens
    tokens: np.ndarray  # how many there are

    @property
    def mean(self) -> np.ndarray:
        """Return the log-probability per token."""
        return self.total / self.tokens


class Margins(NamedTuple):
    """Log-probability of the chosen reply minus that of the rejected one, for each pair: float64 [pairs]."""

    mean: np.ndarray  # per token
    total: np.ndarray


def token_nats(model: PreTrainedModel, inputs_RT: Tensor, labels_RT: Tensor, is_reply_RT: Tensor) -> Tensor:
    """Return -log p(label) where `is_reply_RT`, 0 elsewhere: fp32 [R, T].

    Padding must stand behind, where no token attends to it. Only tokens of replies go through the head, which is
    most of the work where vocabularies are large.
    """
    language_model: Any = model
    hidden_RTD = language_model.base_model(input_ids=inputs_RT, use_cache=False).last_hidden_state
    nats_RT = torch.zeros(labels_RT.shape, device=labels_RT.device)
    nats_RT[is_reply_RT] = reply_loss(language_model, hidden_RTD[is_reply_RT], labels_RT[is_reply_RT], "none")
    return nats_RT


def rows_of(exchanges: Sequence[tuple[Ids, Ids]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return (inputs, labels, where a label belongs to the reply), [R, T] each, of (prompt, reply); no prompt is empty."""
    longest = max(len(prompt) + len(reply) for prompt, reply in exchanges) - 1
    shape = (len(exchanges), longest)
    inputs, labels = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    is_reply = np.zeros(shape, bool)
    for row, (prompt, reply) in enumerate(exchanges):
        assert len(prompt), "a reply's first token is predicted from a prompt's last"
        tokens = np.concatenate([np.asarray(prompt, np.int64), np.asarray(reply, np.int64)])
        length = len(tokens) - 1
        inputs[row, :length] = tokens[:-1]
        labels[row, :length] = tokens[1:]
        is_reply[row, len(prompt) - 1 : length] = True
    return torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(is_reply)


@torch.no_grad()
def log_probabilities(
    model: PreTrainedModel,
    exchanges: Sequence[tuple[Ids, Ids]],
    batch_size: int = 8,
) -> ReplyLikelihoods:
    """Return those of each (prompt, reply), in the order given.

    The model is in eval mode, and replies of about one length share a batch.
    """
    was_training = model.training
    model.eval()
    total = np.zeros(len(exchanges))
    tokens = np.array([len(reply) for _, reply in exchanges], np.float64)
    lengths = [len(prompt) + len(reply) for prompt, reply in exchanges]
    order = sorted(range(len(exchanges)), key=lengths.__getitem__)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        rows = rows_of([exchanges[index] for index in indices])
        nats_RT = token_nats(model, *(tensor.to(model.device) for tensor in rows))
        total[indices] = -nats_RT.double().sum(1).cpu().numpy()
    model.train(was_training)
    return ReplyLikelihoods(total, tokens)


def preferred(model: PreTrainedModel, pairs: Sequence[ReplyPair], batch_size: int = 8) -> Margins:
    """Return by how much a model finds the chosen reply of each pair likelier than the rejected one.

    Whether it prefers what people preferred is decided by the mean per token. By the sum, nearly every model finds
    the shorter reply likelier, so a share of right answers by it tells how often people preferred short replies.
    DPO's own loss is about sums, and may be: it looks at their change, in which length cancels out. So a model
    trained by DPO is expected to move both.
    """
    exchanges = []
    for pair in pairs:
        exchanges += [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]
    likelihoods = log_probabilities(model, exchanges, batch_size)
    mean, total = likelihoods.mean.reshape(-1, 2), likelihoods.total.reshape(-1, 2)
    return Margins(mean[:, 0] - mean[:, 1], total[:, 0] - total[:, 1])


def agreement(margins: np.ndarray) -> np.ndarray:
    """Return 1 for each pair whose chosen reply is likelier, 0 where the other is, 0.5 where neither is."""
    return 0.5 * (1 + np.sign(margins))
