from pathlib import Path

import pytest
import torch

from privllm.core.errors import UserError
from privllm.train import budget, loss_history
from privllm.train.lightning_module import Training
from privllm.train.loss_history import (
    STEP_COST,
    VALIDATION_SHARE,
    History,
    affordable_interval,
    held_out_loss,
    whole_split_loss,
)
from privllm.train.recompute import NEVER, Recompute
from privllm.train.schedule import plan
from tests.train.test_pretrain import Killed, all_bytes, die_at, run
from tests.train.test_pretrain_objectives import objective_of
from tests.train.tiny_corpus import Corpus, tiny


@pytest.mark.parametrize("rows", [1, 3, 5, 100])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_validation_costs_its_share_of_forward_passes_and_not_much_less(corpus: Corpus, rows: int, batch_size: int):
    objective = objective_of("causal", corpus, validation_rows=rows, batch_size=batch_size)
    held_out_passes = len(list(objective.held_out()))
    interval = affordable_interval(objective)
    assert held_out_passes <= VALIDATION_SHARE * STEP_COST * interval
    assert held_out_passes > VALIDATION_SHARE * STEP_COST * (interval - 1)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_whole_split_is_measured_by_its_sample_and_the_rest(corpus: Corpus, rows: int):
    objective = objective_of("causal", corpus, validation_rows=rows)
    module = Training(objective, objective.cfg, plan(40, 1, 0.2), Recompute(objective.model, NEVER, 0))
    found = whole_split_loss(module, held_out_loss(module))
    all_rows = objective_of("causal", corpus, validation_rows=10**9)
    with torch.no_grad():
        nats = sum(float(objective.loss(batch, "sum")) for batch in all_rows.held_out())
    assert found == pytest.approx(nats / sum(map(objective.labels, all_rows.held_out())), abs=1e-5)


def validated_after(place: Path) -> list[int]:
    lines = (place / "live/plots/metrics/validation/loss.tsv").read_text().splitlines()[1:]
    return [int(line.split("\t")[0]) for line in lines]


def test_a_run_validates_as_often_as_it_can_afford_killed_or_not(corpus: Corpus, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        loss_history, "VALIDATION_SHARE", 0.05
    )  # 2 batches: every 14 steps, but six looks at least, 10 steps apart
    cfg = tiny(validate_every=0)
    run(cfg, corpus, tmp_path / "whole")
    assert validated_after(tmp_path / "whole") == [10, 20, 30, 40]
    with monkeypatch.context() as patched:
        die_at(20, patched)
        with pytest.raises(Killed):
            run(cfg, corpus, tmp_path / "killed")
    run(cfg, corpus, tmp_path / "killed")
    assert all_bytes(tmp_path / "killed") == all_bytes(tmp_path / "whole")


def test_a_run_validates_once_an_epoch(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "LEAST_BETWEEN", 1)
    monkeypatch.setattr(loss_history, "VALIDATION_SHARE", 0.1)  # 2 batches: every 7 steps; an epoch has 5
    run(tiny(validate_every=0), corpus, tmp_path)
    assert validated_after(tmp_path) == [5, 10, 15, 20, 25, 30, 35, 40]


def test_a_number_of_steps_that_is_given_counts(corpus: Corpus, tmp_path: Path):
    run(tiny(validate_every=15), corpus, tmp_path)
    assert validated_after(tmp_path) == [15, 30, 40]


def test_losses_wait_where_the_model_is_until_a_point_is_due(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of 40 steps: the first, every tenth, and those before a held-out loss; a checkpoint would read them too."""
    read: list[int] = []
    original = History._read_losses

    def reading(self: History) -> None:
        if self.unread:
            read.append(self.step)
        original(self)

    monkeypatch.setattr(History, "_read_losses", reading)
    run(tiny(validate_every=15), corpus, tmp_path, seconds=1e9)
    assert read == [1, 10, 15, 20, 30, 40]


@pytest.mark.parametrize("step", [4, 13])
def test_the_step_whose_loss_is_not_a_number_is_named_though_it_is_read_later(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
):
    training_step = Training.training_step

    def spoiling(self: Training, batch: object, index: int) -> object:
        loss = training_step(self, batch, index)
        if self.global_step + 1 == step:
            self.step_loss = self.step_loss * float("nan")
        return loss

    monkeypatch.setattr(Training, "training_step", spoiling)
    with pytest.raises(UserError, match=rf"not a number at step {step}: lower `pretrain\.causal\.learning_rate`"):
        run(tiny(validate_every=40), corpus, tmp_path, seconds=1e9)
    assert not list((tmp_path / "work").rglob("latest*"))
