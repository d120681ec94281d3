"""How likely a causal model finds a reply to a prompt, and which of two replies it finds likelier.

Everything here is about token ids; `tokens.chat_format` makes them of what people say. Shapes: R rows, T tokens, N tokens that count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

Ids = Sequence[int] | np.ndarray


class Pair(NamedTuple):
    """Two replies to one prompt, each with the token that ends it."""

    prompt: Ids
    chosen: Ids
    rejected: Ids


class Said(NamedTuple):
    """Of each reply: float64 [replies]."""

    total: np.ndarray  # the sum of its tokens' log-probabilities
    tokens: np.ndarray  # how many there are

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.tokens


class Margins(NamedTuple):
    """Chosen less rejected, of each pair: float64 [pairs]."""

    mean: np.ndarray  # log-probability per token
    total: np.ndarray


def token_nats(model: PreTrainedModel, inputs_RT: Tensor, labels_RT: Tensor, wanted_RT: Tensor) -> Tensor:
    """-log p(label) where wanted, 0 elsewhere: fp32 [R, T]. Padding must stand behind, where no token looks.

    Only what is wanted goes through the head, which is most of the work where vocabularies are large.
    """
    whole: Any = model
    hidden_RTD = whole.base_model(input_ids=inputs_RT, use_cache=False).last_hidden_state
    logits_NV = whole.get_output_embeddings()(hidden_RTD[wanted_RT])
    nats_RT = torch.zeros(labels_RT.shape, device=labels_RT.device)
    nats_RT[wanted_RT] = F.cross_entropy(logits_NV.float(), labels_RT[wanted_RT], reduction="none")
    return nats_RT


def rows_of(said: Sequence[tuple[Ids, Ids]]) -> tuple[Tensor, Tensor, Tensor]:
    """(inputs, labels, where a label is of the reply), [R, T] each, of (prompt, reply) whose prompts are not empty."""
    longest = max(len(prompt) + len(reply) for prompt, reply in said) - 1
    inputs, labels = np.zeros((len(said), longest), np.int64), np.zeros((len(said), longest), np.int64)
    wanted = np.zeros((len(said), longest), bool)
    for row, (prompt, reply) in enumerate(said):
        assert len(prompt), "a reply's first token is predicted from a prompt's last"
        tokens = np.concatenate([np.asarray(prompt, np.int64), np.asarray(reply, np.int64)])
        inputs[row, : len(tokens) - 1], labels[row, : len(tokens) - 1] = tokens[:-1], tokens[1:]
        wanted[row, len(prompt) - 1 : len(tokens) - 1] = True
    return torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(wanted)


@torch.no_grad()
def log_probabilities(model: PreTrainedModel, said: Sequence[tuple[Ids, Ids]], batch_size: int = 8) -> Said:
    """Of each (prompt, reply), in eval mode, in batches of about one length; the order is that given."""
    training = model.training
    model.eval()
    total, tokens = np.zeros(len(said)), np.array([len(reply) for _, reply in said], np.float64)
    order = sorted(range(len(said)), key=lambda i: len(said[i][0]) + len(said[i][1]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = (part.to(model.device) for part in rows_of([said[i] for i in chosen]))
        total[chosen] = -token_nats(model, *rows).double().sum(1).cpu().numpy()
    model.train(training)
    return Said(total, tokens)


def preferred(model: PreTrainedModel, pairs: Sequence[Pair], batch_size: int = 8) -> Margins:
    """By how much a model finds the chosen reply of each pair likelier than the rejected one.

    Whether it prefers what people preferred is asked of the mean per token. Of the sum, nearly every model says that the shorter reply is
    likelier, so a share of right answers by it tells how often people preferred short replies. DPO's own loss is about sums, and may be:
    it looks at their change, in which length cancels out. So a model that DPO taught is expected to move both.
    """
    said = log_probabilities(model, [(pair.prompt, reply) for pair in pairs for reply in (pair.chosen, pair.rejected)], batch_size)
    mean, total = said.mean.reshape(-1, 2), said.total.reshape(-1, 2)
    return Margins(mean[:, 0] - mean[:, 1], total[:, 0] - total[:, 1])


def agreement(margins: np.ndarray) -> np.ndarray:
    """Of each pair 1 where the chosen reply is likelier, 0 where the other is, half a point where neither is."""
    return 0.5 * (1 + np.sign(margins))
