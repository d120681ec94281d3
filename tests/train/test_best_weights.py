"""The weights with the lowest held-out loss are kept: a plateau goes back to them, and the end takes the better of best and last."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from privllm.train import loss_history
from privllm.train.checkpoint import BestWeights, SafeCheckpointIO, learnt_weights
from privllm.train.loop import Work
from privllm.train.pretrain import PretrainInputs, pretrain
from tests.train.tiny_corpus import Corpus, tiny

Weights = dict[str, torch.Tensor]


def weights_of(module: Any) -> Weights:
    return {name: weight.detach().clone() for name, weight in module.model.named_parameters()}


class Script:
    """Held-out losses by step, as if they had been measured, and the weights that were there."""

    def __init__(self, by_step: dict[int, float], whole: Callable[[int], float]) -> None:
        self.by_step = by_step
        self.whole = whole  # loss on the whole split, of the weights of a step
        self.weights: dict[int, Weights] = {}

    def play(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for what measures."""
        monkeypatch.setattr(loss_history, "held_out_loss", self.of_sample)
        monkeypatch.setattr(loss_history, "whole_split_loss", self.of_whole)

    def of_sample(self, module: Any, shown: bool = False) -> float:
        self.weights.setdefault(module.global_step, weights_of(module))
        return self.by_step.get(module.global_step, 9.0)

    def of_whole(self, module: Any, sample_loss: float) -> float:
        step = self.step_of(weights_of(module), module.global_step)
        assert sample_loss == self.by_step.get(step, 9.0)
        return self.whole(step)

    def step_of(self, present: Weights, last: int) -> int:
        """Return after which measured step the weights were these; `last` where after none."""
        for step, weights in self.weights.items():
            if all(torch.equal(weights[name], present[name]) for name in weights):
                return step
        return last


def run(corpus: Corpus, place: Path, seconds: float = math.inf, **knobs: Any) -> dict[str, Any]:
    inputs = PretrainInputs(corpus.rows, corpus.guide, corpus.tokenizer, corpus.start)
    work = Work(place / "work/pretrain", "code", seconds)
    return pretrain("causal", tiny(**knobs), inputs, place / "out", place / "live", work)


def saved(place: Path) -> Weights:
    return load_file(place / "out/model.safetensors")


def is_same(saved_weights: Weights, weights: Weights) -> bool:
    common = saved_weights.keys() & weights.keys()
    assert len(common) > 5
    return all(torch.equal(saved_weights[name], weights[name]) for name in common)


PLATEAU = {6: 5.0, 12: 4.0, 18: 6.0, 24: 6.0}  # the validation after step 24 is the second without improvement


def test_a_plateau_goes_back_to_the_best_weights_and_decays_from_there(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(PLATEAU, whole=lambda step: 3.0)
    script.play(monkeypatch)
    started_from: list[Weights] = []
    restore = loss_history.BestWeights.restore

    def watched(self: Any, model: Any, optimizer: Any = None) -> None:
        restore(self, model, optimizer)
        started_from.append({name: weight.detach().clone() for name, weight in model.named_parameters()})

    monkeypatch.setattr(loss_history.BestWeights, "restore", watched)
    report = run(corpus, tmp_path, patience=2, decay_fraction=0.25)
    assert (report["stopped_by"], report["steps"]) == ("plateau", 24 + 2)  # a fifth of 12 steps
    assert all(torch.equal(script.weights[12][name], weight) for name, weight in started_from[0].items())


@pytest.mark.parametrize(("best", "last", "kept"), [(3.0, 3.5, 12), (3.5, 3.0, 26)])
def test_the_better_of_best_and_last_on_the_whole_split_is_kept(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: float, last: float, kept: int
) -> None:
    script = Script(PLATEAU, whole=lambda step: best if step == 12 else last)
    script.play(monkeypatch)
    report = run(corpus, tmp_path, patience=2, decay_fraction=0.25)
    assert (report["best_step"], report["validation_loss"]) == (kept, 3.0)
    assert is_same(saved(tmp_path), script.weights[kept])


def test_where_another_process_is_gone_at_a_plateau_nothing_of_it_was_taken(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is saved then is gone on from, and the validation is done again."""
    Script(PLATEAU, whole=lambda step: 3.0).play(monkeypatch)
    recorded: list[tuple[str, int]] = []
    record = loss_history.History.record

    def watched(self: Any, name: str, step: int, value: float) -> None:
        recorded.append((name, step))
        record(self, name, step, value)

    def gone() -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(loss_history.History, "record", watched)
    monkeypatch.setattr(loss_history, "wait_for_all", gone)
    with pytest.raises(RuntimeError, match="closed by peer"):
        run(corpus, tmp_path, patience=2, decay_fraction=0.25)
    assert ("validation/loss", 18) in recorded
    assert ("validation/loss", 24) not in recorded


def test_without_a_plateau_too_the_best_is_kept(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be overfitting within the decay that was planned."""
    script = Script({6: 5.0, 12: 4.0, 40: 6.0}, whole=lambda step: 4.0 if step == 12 else 6.0)
    script.play(monkeypatch)
    report = run(corpus, tmp_path, patience=100)
    assert (report["best_step"], report["steps"], report["stopped_by"]) == (12, 40, "epochs")
    assert is_same(saved(tmp_path), script.weights[12])


@pytest.mark.parametrize("step", [13, 20, 24, 25, 26])
def test_killed_after_the_best_and_started_again_gives_the_same_bytes(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The file of the best weights may be newer than the checkpoint that is gone on from."""

    class Killed(Exception):
        pass

    def script() -> Script:
        return Script(PLATEAU, whole=lambda step: 3.0 if step == 12 else 3.5)

    script().play(monkeypatch)
    run(corpus, tmp_path / "whole", patience=2, decay_fraction=0.25)
    record = loss_history.History.on_train_batch_end

    def dying(self: Any, trainer: Any, *arguments: Any) -> None:
        record(self, trainer, *arguments)
        if trainer.global_step == step:
            raise Killed

    stopped = script()
    with monkeypatch.context() as patched:
        stopped.play(patched)
        patched.setattr(loss_history.History, "on_train_batch_end", dying)
        with pytest.raises(Killed):
            run(corpus, tmp_path / "stopped", seconds=0.0, patience=2, decay_fraction=0.25)
    stopped.play(monkeypatch)
    run(corpus, tmp_path / "stopped", seconds=0.0, patience=2, decay_fraction=0.25)
    whole, again = (
        {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (tmp_path / "whole", tmp_path / "stopped")
    )
    assert whole == again


def test_the_optimisers_state_comes_back_with_the_weights(tmp_path: Path) -> None:
    """Its momentum would lead on to where the plateau was."""
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    def momentum() -> list[torch.Tensor]:
        return [state["exp_avg"].clone() for state in optimizer.state.values()]

    step()
    best = BestWeights(tmp_path, SafeCheckpointIO("key"))
    best.save(model, optimizer)
    weights, moved = learnt_weights(model)["weight"].clone(), momentum()
    step()
    assert not all(map(torch.equal, momentum(), moved))
    best.restore(model, optimizer)
    assert torch.equal(learnt_weights(model)["weight"], weights)
    assert all(map(torch.equal, momentum(), moved))


def test_more_training_than_the_text_bears_is_not_kept(corpus: Corpus, tmp_path: Path) -> None:
    """Measured, not scripted: a high rate on few rows, whose last weights are worse than earlier ones."""
    report = run(corpus, tmp_path, learning_rate=0.1, patience=2, epochs=120 * 4 / 23, validation_rows=1000)
    losses = [float(line.split("\t")[1]) for line in curve(tmp_path)]
    assert report["validation_loss"] <= min(losses) + 1e-4


def curve(place: Path) -> list[str]:
    return (place / "live/plots/metrics/validation/loss.tsv").read_text().splitlines()[1:]
