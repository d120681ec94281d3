"""The losses of aligning against their definitions, one token and one lesson at a time."""

import math

import numpy as np
import pytest
import torch

from privllm.core.special_tokens import own_ids
from privllm.models.loading import build
from privllm.tokens.rows import open_rows
from privllm.train.align.objectives import EncodedLesson, Imitate, LossTerms, Prefer, dpo_loss
from privllm.train.config import TrainConfig
from privllm.train.pretrain_objectives import NextToken, Split
from tests.train.tiny_corpus import write_split
from tests.train.tiny_tasks import CONTEXT, MODELS

VOCABULARY, BETA = 64, 0.3
CFG = TrainConfig(batch_size=3, compile=False)
PAIRS = [
    EncodedLesson([0, 3, 9, 5, 4], [[20, 21, 5], [22, 5]], 1.0),
    EncodedLesson([0, 3, 5, 4], [[30, 5], [20, 21, 31, 5]], 0.25),
    EncodedLesson([0, 4], [[7], [8]], 0.5),
]


@pytest.fixture
def model():
    model = build("causal", MODELS["causal"], own_ids(VOCABULARY), CONTEXT, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # blocks begin as the identity
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def text(model, tmp_path) -> NextToken:
    rng = np.random.default_rng(0)
    write_split(tmp_path, [[rng.integers(6, VOCABULARY, CONTEXT + 1).tolist() for _ in range(9)]], CONTEXT)
    rows = Split(open_rows(tmp_path))
    return NextToken(model, TrainConfig(batch_size=2, compile=False), rows, rows, own_ids(VOCABULARY))


@torch.no_grad()
def slowly(model, prompt: list[int], reply: list[int]) -> float:
    logits = model(torch.tensor([prompt + reply])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(reply))


def changed(model) -> None:
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)


def test_by_hand() -> None:
    """The chosen reply is 2 nats ahead, and was 1 behind: -log sigmoid(0.1 * 3) = log(1 + e^-0.3)."""
    losses = dpo_loss(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0]), 0.1)
    assert losses.tolist() == pytest.approx([0.5543552, math.log(2)], abs=1e-6)


def test_preferring_is_what_the_paper_says(model, text) -> None:
    objective = Prefer(model, CFG, "align.dpo", PAIRS, [], LossTerms(text, 0.0, BETA))
    batch = objective.make(objective.train)
    # An untrained model equals its reference, so every pair costs log 2.
    assert objective.loss(batch).item() == pytest.approx((1 + 0.25 + 0.5) / 3 * math.log(2), rel=1e-5)
    before = [[slowly(model, lesson.prompt, reply) for reply in lesson.replies] for lesson in PAIRS]
    changed(model)
    total = 0.0
    for lesson, (old_chosen, old_rejected) in zip(PAIRS, before, strict=True):
        chosen, rejected = (slowly(model, lesson.prompt, reply) for reply in lesson.replies)
        total -= lesson.weight * math.log(
            1 / (1 + math.exp(-BETA * ((chosen - old_chosen) - (rejected - old_rejected))))
        )
    assert objective.loss(batch, "sum").item() == pytest.approx(total, rel=1e-4)
    assert objective.loss(batch).item() == pytest.approx(total / 3, rel=1e-4)
    assert objective.labels(batch) == 3


def test_imitating_is_weighted_cross_entropy_of_the_reply_alone(model, text) -> None:
    objective = Imitate(model, CFG, "align.sft", PAIRS, PAIRS, LossTerms(text, 0.0))
    (batch,) = objective.held_out()
    nats = sum(-lesson.weight * slowly(model, lesson.prompt, lesson.replies[0]) for lesson in PAIRS)
    assert objective.labels(batch) == 3 + 2 + 1
    assert objective.loss(batch, "sum").item() == pytest.approx(nats, rel=1e-5)
    assert objective.loss(batch).item() == pytest.approx(nats / 6, rel=1e-5)


@pytest.mark.parametrize("kind", [Imitate, Prefer])
def test_a_lesson_counts_by_its_weight(model, text, kind) -> None:
    def gradient(weight: float) -> torch.Tensor:
        objective = kind(model, CFG, "align", [PAIRS[0]._replace(weight=weight)], [], LossTerms(text, 0.0, BETA))
        model.zero_grad()
        objective.loss(objective.make(objective.train)).backward()
        return model.lm_head.weight.grad.clone()

    whole = gradient(1.0)
    assert whole.abs().max() > 0
    assert torch.allclose(gradient(0.25), 0.25 * whole, atol=1e-6)


@pytest.mark.parametrize("kind", [Imitate, Prefer])
def test_pretraining_goes_on_in_every_step_and_in_no_validation(model, text, kind) -> None:
    with_text = kind(model, CFG, "align", PAIRS, PAIRS, LossTerms(text, 0.5, BETA))
    without = kind(model, CFG, "align", PAIRS, PAIRS, LossTerms(text, 0.0, BETA))
    batch, bare = with_text.batch(4), without.batch(4)
    assert all(a.equal(b) for a, b in zip(batch, with_text.batch(4), strict=True))
    assert not with_text.batch(5)[-1].equal(batch[-1])
    assert len(bare) == kind.lesson_tensors == len(batch) - len(text.batch(4))
    expected = without.loss(bare).item() + 0.5 * text.loss(text.batch(4)).item()
    assert with_text.loss(batch).item() == pytest.approx(expected, rel=1e-5)
    assert [len(held) for held in with_text.held_out()] == [kind.lesson_tensors]
    assert with_text.labels(batch) == without.labels(bare)


@pytest.mark.parametrize("kind", [Imitate, Prefer])
@pytest.mark.parametrize("positions", [1, 16, 40])
def test_a_step_in_parts_has_the_loss_and_the_gradients_of_the_plain_one(model, text, kind, positions) -> None:
    """Lessons and replayed text alike; pairs stay together. To 1e-5: sums are taken in another order."""
    objective = kind(model, CFG, "align", PAIRS, PAIRS, LossTerms(text=text, replay=0.5, beta=BETA))
    changed(model)  # or the policy is its own reference, and no pair has a gradient of its own
    batch = objective.batch(4)

    def step() -> tuple[float, list[torch.Tensor], int]:
        model.zero_grad()
        parts = objective.parts(batch)
        losses = [objective.part_loss(part) for part in parts]
        for loss in losses:
            loss.backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        return sum(float(loss.detach()) for loss in losses), gradients, len(parts)

    plain, plain_gradients, count = step()
    assert count == 1
    assert plain == pytest.approx(objective.loss(batch).item(), rel=1e-6)
    objective.positions_at_once = positions
    in_parts, gradients, count = step()
    assert count > 1
    assert in_parts == pytest.approx(plain, rel=1e-5)
    for gradient, expected in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5 * float(expected.abs().max()) + 1e-7)
