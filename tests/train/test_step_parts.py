"""A step in parts, with activations computed again, a loss in chunks, and batches made by workers: the plain step's loss and gradients.

Tolerance: a relative 2e-5 of each gradient's largest number, in fp32, since sums are taken in another order; with activations computed
again, and with workers, the same bits.
"""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.models import chunked_loss
from privllm.models.loading import MODELS
from privllm.models.vocabulary import IGNORED
from privllm.train.batches import fill
from privllm.train.lightning_module import Training
from privllm.train.loop import Work, train
from privllm.train.objective import Objective
from privllm.train.recompute import ALWAYS, NEVER, Recompute
from privllm.train.schedule import plan
from privllm.train.step_parts import Stream, cut, rows_at_once
from tests.train.test_pretrain_objectives import objective_of
from tests.train.tiny_corpus import CONTEXT, Corpus

STEP = 3


def gradients(objective: Objective, recompute: str = NEVER) -> tuple[float, dict[str, torch.Tensor]]:
    """Return the loss and the gradients of one step, as the loop takes them."""
    module = Training(objective, objective.cfg, plan(40, 4, 0.5), Recompute(objective.model, recompute, 0))  # type: ignore[attr-defined]
    module.train()
    torch.manual_seed(0)
    module.training_step(objective.step(STEP), 0).backward()
    found = {}
    for name, parameter in objective.model.named_parameters():
        assert parameter.grad is not None
        found[name] = parameter.grad
    return float(module.step_loss), found


def without_dropout(family: str, corpus: Corpus, **changes: Any) -> Objective:
    """Parts draw their dropout one after the other, so only without it a step is the same in parts."""
    objective = objective_of(family, corpus, **changes)
    for module in objective.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    with torch.no_grad():  # branches begin as zeros, and most gradients with them
        for number, parameter in enumerate(objective.model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.05 * noise)
    return objective


def assert_close(one: tuple[float, dict], other: tuple[float, dict]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-6)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        atol = 2e-5 * float(other[1][name].abs().max())
        torch.testing.assert_close(gradient, other[1][name], rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_step_in_parts_is_the_plain_step(corpus: Corpus, family: str, rows: int) -> None:
    plain = gradients(without_dropout(family, corpus))
    objective = without_dropout(family, corpus)
    objective.positions_at_once = rows * CONTEXT
    assert len(objective.step(STEP).parts) == -(-4 // rows)
    assert_close(gradients(objective), plain)


@pytest.mark.parametrize("family", MODELS)
def test_activations_computed_again_give_the_same_bits_dropout_included(corpus: Corpus, family: str) -> None:
    kept, again = (gradients(objective_of(family, corpus), mode) for mode in (NEVER, ALWAYS))
    assert kept[0] == again[0]
    for name, gradient in kept[1].items():
        assert gradient.equal(again[1][name]), name


@pytest.mark.parametrize("family", ["causal", "masked"])
def test_a_loss_in_chunks_is_the_plain_one(corpus: Corpus, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = gradients(without_dropout(family, corpus))
    objective = without_dropout(family, corpus)
    monkeypatch.setattr(chunked_loss, "LOGITS_AT_ONCE", 7 * objective.model.config.vocab_size)
    assert_close(gradients(objective), plain)


@pytest.mark.parametrize("family", MODELS)
def test_a_step_without_a_label_teaches_nothing(corpus: Corpus, family: str) -> None:
    """Whole or in parts; of a seq2seq model there may be nothing to write at all."""
    for positions in (0, 17):
        objective = without_dropout(family, corpus)
        objective.positions_at_once = positions
        *read, labels = objective.batch(STEP)
        if family == "seq2seq":
            inputs, chunks, *_ = read
            nothing = [np.zeros(0, np.int64)] * len(inputs)
            read, labels = [inputs, chunks, fill(nothing, 0), fill(nothing, 0)], fill(nothing, IGNORED)
        batch = (*read, torch.full_like(labels, IGNORED))
        objective.batch = lambda step, batch=batch: batch  # type: ignore[method-assign, misc]
        loss, found = gradients(objective)
        assert loss == 0
        assert all(torch.isfinite(gradient).all() and not gradient.any() for gradient in found.values())


def test_all_at_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, in chunks, and with activations computed again."""
    plain = gradients(without_dropout("causal", corpus))
    objective = without_dropout("causal", corpus)
    objective.positions_at_once = CONTEXT
    monkeypatch.setattr(chunked_loss, "LOGITS_AT_ONCE", 7 * objective.model.config.vocab_size)
    assert_close(gradients(objective, ALWAYS), plain)


def weights_after(corpus: Corpus, place: Path, family: str, work: dict[str, Any], **changes: Any) -> dict:
    objective = objective_of(family, corpus, **changes)
    train(objective, objective.cfg, 12, place / "live", Work(place / "work", "code", **work), "key")
    return objective.model.state_dict()


@pytest.mark.parametrize("work", [{"workers": 2}, {"recompute": ALWAYS}], ids=str)
def test_how_it_is_done_changes_no_byte_of_a_training(corpus: Corpus, tmp_path: Path, work: dict[str, Any]) -> None:
    plain = weights_after(corpus, tmp_path / "plain", "masked", {})
    other = weights_after(corpus, tmp_path / "other", "masked", work)
    assert all(plain[name].equal(other[name]) for name in plain)
    for file in ("validation/loss.tsv", "train/loss.tsv"):
        one, two = (tmp_path / place / "live/plots/metrics" / file for place in ("plain", "other"))
        assert one.read_bytes() == two.read_bytes()


def test_a_training_in_parts_ends_near_the_plain_one(corpus: Corpus, tmp_path: Path) -> None:
    """Dropout aside, which the tiny model has: its held-out loss after 12 steps, to 0.1 nats."""
    objectives = []
    for at_once in (0, CONTEXT):
        objective = objective_of("causal", corpus, positions_at_once=at_once)
        place = tmp_path / str(at_once)
        trained = train(objective, objective.cfg, 12, place / "live", Work(place / "work", "code"), "key")
        objectives.append(trained.validation_loss)
    assert objectives[0] != objectives[1]
    assert objectives[0] == pytest.approx(objectives[1], abs=0.1)


def test_a_stream_goes_on_from_any_step_as_if_it_had_never_stopped() -> None:
    whole = list(islice(Stream(lambda step: (step,), lambda: 0), 20))
    assert list(islice(Stream(lambda step: (step,), lambda: 13), 7)) == whole[13:]


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_make_the_same_batches_in_the_same_order(corpus: Corpus, workers: int) -> None:
    objective = objective_of("masked", corpus)
    ahead = islice(Stream(objective.step, lambda: 5, workers), 9)
    for step, made in enumerate(ahead, start=5):
        expected = objective.step(step)
        assert made[1:] == expected[1:]
        for one, other in zip(made.parts[0].batch, expected.parts[0].batch, strict=True):
            assert one.equal(other)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 200))
def test_parts_have_every_row_once_and_no_more_positions_than_may(rows: int, width: int, positions: int) -> None:
    batch = (torch.from_numpy(np.arange(rows * width).reshape(rows, width)), torch.arange(rows))
    at_once = rows_at_once(batch, positions)
    pieces = list(cut(batch, at_once))
    assert torch.cat([piece[0] for piece in pieces]).equal(batch[0])
    assert torch.cat([piece[1] for piece in pieces]).equal(batch[1])
    if positions:
        assert all(piece[0].numel() <= max(positions, width) for piece in pieces)
    else:
        assert len(pieces) == 1


@pytest.mark.parametrize(
    ("rows", "most", "expected"),
    [
        (32, 31, [16, 16]),
        (32, 6, [4] * 8),
        (9, 4, [3, 3, 3]),
        (5, 4, [4, 1]),  # equal ones would be five
        (31, 6, [6, 6, 6, 6, 6, 1]),
    ],
)
def test_parts_are_equal_where_that_takes_few_more(rows: int, most: int, expected: list[int]) -> None:
    batch = (torch.zeros(rows, 10), torch.zeros(rows))
    assert [len(piece[0]) for piece in cut(batch, rows_at_once(batch, 10 * most + 9))] == expected
