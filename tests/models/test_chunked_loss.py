"""A loss made in chunks: the value and the gradients of the plain one, and of its logits never more than a chunk."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from privllm.models import chunked_loss
from privllm.models.chunked_loss import cross_entropy
from privllm.models.vocabulary import IGNORED

LABELS, WIDTH, VOCABULARY = 23, 8, 40


@pytest.fixture
def chunks_of_five(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of labels of each piece of logits."""
    monkeypatch.setattr(chunked_loss, "LOGITS_AT_ONCE", 5 * VOCABULARY + 3)
    return []


def problem() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(LABELS, WIDTH, generator=generator, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, requires_grad=True)
    labels = torch.randint(VOCABULARY, (LABELS,), generator=generator)
    labels[::4] = IGNORED
    return hidden, weight, labels


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_chunks_give_the_loss_and_the_gradients_of_the_plain_one(chunks_of_five: list[int], reduction: str) -> None:
    """To a relative difference of 1e-6: sums are taken in another order."""

    def logits_of(weight: Tensor, hidden: Tensor) -> Tensor:
        chunks_of_five.append(len(hidden))
        return F.linear(hidden, weight)

    hidden, weight, labels = problem()
    expected = F.cross_entropy(F.linear(hidden, weight), labels, ignore_index=IGNORED, reduction=reduction)
    expected.sum().backward()
    gradients = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    loss = cross_entropy(partial(logits_of, weight), hidden, labels, VOCABULARY, reduction)
    loss.sum().backward()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    for given, wanted in zip((hidden.grad, weight.grad), gradients, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-6, atol=1e-6)
    assert max(chunks_of_five) == 5
    assert sum(chunks_of_five) == 2 * LABELS, "once forward, once for the backward pass"


def test_without_gradients_each_chunk_is_made_once(chunks_of_five: list[int]) -> None:
    hidden, weight, labels = problem()

    def logits_of(hidden: Tensor) -> Tensor:
        chunks_of_five.append(len(hidden))
        return F.linear(hidden, weight)

    with torch.no_grad():
        cross_entropy(logits_of, hidden, labels, VOCABULARY, "sum")
    assert chunks_of_five == [5, 5, 5, 5, 3]


def test_what_fits_has_the_bits_of_the_plain_loss() -> None:
    hidden, weight, labels = problem()
    plain = F.cross_entropy(F.linear(hidden, weight), labels, ignore_index=IGNORED)
    assert cross_entropy(lambda h: F.linear(h, weight), hidden, labels, VOCABULARY, "mean").equal(plain)
