"""When activations are computed again, and what that leaves of a model; that it changes no gradient, test_step_parts says."""

import pytest

from privllm.models.blocks import blocks, projections
from privllm.models.loading import MODELS
from privllm.train import recompute
from privllm.train.memory_need import GIB
from privllm.train.pretrain_objectives import Packed
from privllm.train.recompute import ALWAYS, AUTO, NEVER, Recompute, positions_at_once
from tests.train.test_pretrain_objectives import objective_of
from tests.train.tiny_corpus import Corpus


def runs_of_blocks(objective: Packed, recompute: Recompute, positions: int) -> int:
    """How often the first block runs in a forward and backward pass."""
    runs = []
    inside = next(iter(projections(blocks(objective.model)[0]).values()))
    handle = inside.register_forward_pre_hook(lambda *_: runs.append(1))
    objective.model.train()
    recompute.before(positions)
    objective.loss(objective.batch(0)).backward()
    handle.remove()
    return len(runs)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize(("mode", "positions", "runs"), [(ALWAYS, 1, 2), (NEVER, 99, 1), (AUTO, 64, 1), (AUTO, 65, 2)])
def test_blocks_run_twice_where_asked(corpus: Corpus, family: str, mode: str, positions: int, runs: int) -> None:
    objective = objective_of(family, corpus)
    assert runs_of_blocks(objective, Recompute(objective.model, mode, 64), positions) == runs


def test_a_model_that_cannot_is_left_alone(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = objective_of("causal", corpus)
    monkeypatch.setattr(type(objective.model), "supports_gradient_checkpointing", False)
    assert runs_of_blocks(objective, Recompute(objective.model, ALWAYS, 64), 99) == 1


def test_switched_off_in_the_end(corpus: Corpus) -> None:
    objective = objective_of("causal", corpus)
    switch = Recompute(objective.model, ALWAYS, 64)
    switch.before(1)
    switch.set(False)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in objective.model.modules())


def test_less_room_is_fewer_positions(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    model = objective_of("causal", corpus).model
    before = positions_at_once(model, False)
    monkeypatch.setattr(recompute, "ROOM", {False: 3 * GIB, True: 1})
    assert positions_at_once(model, False) == pytest.approx(before / 2, abs=1)
    assert positions_at_once(model, True) > positions_at_once(model, False)
