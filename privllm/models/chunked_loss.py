"""Cross-entropy of a head whose logits do not fit into memory at once: made chunk by chunk, and made again in the backward pass.

A vocabulary of 49,152 and 16,384 labels are 3 GiB of logits, and as much again for their gradient. Where logits are at most
`LOGITS_AT_ONCE` numbers nothing is cut, and the loss has the bits of the plain one; above, sums are taken in another order. What decides
is the shape alone, so it is the same on every machine. Shapes: N labels, D width, V vocabulary.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from privllm.models.config import LOGITS_AT_ONCE
from privllm.models.vocabulary import IGNORED


def fits(labels: int, vocabulary: int) -> bool:
    """Return whether the logits of so many labels are made at once."""
    return labels * vocabulary <= LOGITS_AT_ONCE


def cross_entropy(
    logits_of: Callable[[Tensor], Tensor], hidden_ND: Tensor, labels_N: Tensor, vocabulary: int, reduction: str
) -> Tensor:
    """Return the nats of the labels that are not IGNORED: their "mean", their "sum", or each by itself ("none")."""
    if fits(len(labels_N), vocabulary):
        return F.cross_entropy(logits_of(hidden_ND).float(), labels_N, ignore_index=IGNORED, reduction=reduction)
    if reduction == "none":
        return torch.cat(list(_by_chunk(logits_of, hidden_ND, labels_N, vocabulary, "none")))
    nats = torch.stack(list(_by_chunk(logits_of, hidden_ND, labels_N, vocabulary, "sum"))).sum()
    return nats if reduction == "sum" else nats / (labels_N != IGNORED).sum()


def _by_chunk(
    logits_of: Callable[[Tensor], Tensor], hidden_ND: Tensor, labels_N: Tensor, vocabulary: int, reduction: str
) -> Iterator[Tensor]:
    def nats_of(hidden: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits_of(hidden).float(), labels, ignore_index=IGNORED, reduction=reduction)

    size = max(1, LOGITS_AT_ONCE // vocabulary)
    for hidden, labels in zip(hidden_ND.split(size), labels_N.split(size), strict=True):
        if torch.is_grad_enabled():
            yield checkpoint(nats_of, hidden, labels, use_reentrant=False, preserve_rng_state=False)
        else:
            yield nats_of(hidden, labels)
