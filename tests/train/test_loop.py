"""What a checkpoint's key takes: all that can change a weight, and nothing else. How often one is saved is no part of it."""

import importlib
import inspect
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from privllm.core.errors import UserError
from privllm.engine.executor_ray import ExecutorConfig
from privllm.train.adapter_config import AdapterConfig
from privllm.train.loop import Work, key_of, train
from privllm.train.lora import adapt
from tests.train.striking import strike_at
from tests.train.test_pretrain_objectives import objective_of
from tests.train.tiny_corpus import Corpus, tiny


class Given(NamedTuple):
    cfg: Any
    files: list[Path]
    code: str = "code"
    compiled: bool = False


@pytest.fixture
def given(tmp_path: Path) -> Given:
    for name in ("rows/train/0.arrow", "rows/validation/0.arrow", "tokenizer.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return Given(tiny().causal, [tmp_path / "rows/train", tmp_path / "rows/validation", tmp_path / "tokenizer.json"])


def swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def test_weights_are_hashed_a_piece_at_a_time(given: Given) -> None:
    size = 64 << 20
    with given.files[2].open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        key_of(*given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 8


CHANGES = {
    "a parameter": lambda given, _: given._replace(cfg=tiny(learning_rate=0.5).causal),
    "a parameter of the model": lambda given, _: (setattr(given.cfg.model, "layers", 3), given)[1],
    "code": lambda given, _: given._replace(code="other"),
    "compiling": lambda given, _: given._replace(compiled=True),
    "a file's content": lambda given, _: (given.files[2].write_text("other"), given)[1],
    "a file in a folder": lambda given, _: ((given.files[0] / "0.arrow").write_text("other"), given)[1],
    "a new file in a folder": lambda given, _: ((given.files[0] / "1.arrow").write_text(""), given)[1],
    "a file's name": lambda given, _: ((given.files[0] / "0.arrow").rename(given.files[0] / "9.arrow"), given)[1],
    "which split is which": lambda given, _: (swap(given.files[0] / "0.arrow", given.files[1] / "0.arrow"), given)[1],
    "torch": lambda given, patch: (patch.setattr(torch, "__version__", "9.9"), given)[1],
    "threads": lambda given, patch: (patch.setattr(torch, "get_num_threads", lambda: 99), given)[1],
    "a GPU": lambda given, patch: (
        patch.setattr(torch.cuda, "is_available", lambda: not torch.cuda.device_count()),
        given,
    )[1],
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_thing_that_can_change_a_weight_is_in_the_key(
    given: Given, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = key_of(*given)
    assert key_of(*given) == before
    assert key_of(*CHANGES[name](given, monkeypatch)) != before


def test_where_the_files_lie_is_not(given: Given, tmp_path: Path) -> None:
    before = key_of(*given)
    (tmp_path / "rows").rename(tmp_path / "moved")
    moved = [tmp_path / "moved/train", tmp_path / "moved/validation", given.files[2]]
    assert key_of(*given._replace(files=moved)) == before


class Reached(Exception):
    pass


@pytest.mark.parametrize(("stage", "item"), [("pretrain", "causal"), ("finetune", "gaps"), ("align", "causal")])
def test_the_minutes_reach_the_training(stage: str, item: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text("utf-8"))
    params["executor"]["checkpoint_minutes"] = 2.5
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / f"{stage}.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"stages.{stage}")

    def reached(*given: Any) -> None:
        (seconds,) = [argument.seconds for argument in given if hasattr(argument, "seconds")]
        assert seconds == 150.0
        raise Reached

    for name, value in (("FOLDER", tmp_path), ("require_verdict", lambda _: None), ("extensions_of", lambda _: ())):
        monkeypatch.setattr(module, name, value, raising=False)
    # `pretrain` and `finetune` are imported where it is known that there is work for torch.
    home = module if hasattr(module, stage) else importlib.import_module(f"privllm.train.{stage}")
    monkeypatch.setattr(home, stage, reached)
    with pytest.raises(Reached):
        module.main(*[Path(item)] * len(inspect.signature(module.main).parameters))


def test_minutes_below_nothing_are_refused() -> None:
    with pytest.raises(UserError, match=r"executor\.checkpoint_minutes"):
        ExecutorConfig(checkpoint_minutes=-1)


@pytest.mark.parametrize(("precision", "is_lean"), [("32", True), ("bf16", False)])
def test_fp32_on_a_cpu_trains_through_lean_blocks(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, is_lean: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = []

    def look(trainer: Any, module: Any, checkpoint: Any, workers: int) -> None:
        seen.append("forward" in vars(module.model.model.norm))

    monkeypatch.setattr("privllm.train.loop.fit", look)
    objective = objective_of("causal", corpus, precision=precision)
    train(objective, objective.cfg, 1, tmp_path / "live", Work(tmp_path / "work", "code"), "key")
    assert seen == [is_lean]
    assert "forward" not in vars(objective.model.model.norm)


@pytest.mark.parametrize(
    ("changes", "rank", "remedy"),
    [
        ({"weights": "bf16"}, 0, "set `optimizer` to adamw8"),
        ({"weights": "bf16", "optimizer": "adamw"}, 0, "set `optimizer` to adamw8"),
        ({"weights": "nf4", "optimizer": "adamw8"}, 0, "set it to 32"),
        ({"weights": "bf16", "optimizer": "adamw8"}, 0, ""),
        ({"weights": "bf16", "optimizer": "adamw"}, 2, ""),
        ({"weights": "nf4", "optimizer": "adamw"}, 2, ""),
    ],
)
def test_small_weights_train_where_no_update_is_lost_and_an_fp32_model_comes_back(
    corpus: Corpus, tmp_path: Path, changes: dict, rank: int, remedy: str
) -> None:
    objective = objective_of("causal", corpus, **changes)
    if rank:
        adapt(objective.model, AdapterConfig(rank=rank), 0)
    work = Work(tmp_path / "work", "code")
    if remedy:
        with pytest.raises(UserError, match=f"`pretrain.causal.weights`.*{remedy}"):
            train(objective, objective.cfg, 2, tmp_path / "live", work, "key")
        return
    trained = train(objective, objective.cfg, 12, tmp_path / "live", work, "key")
    losses = [loss for name, _, loss in trained.history.points if name == "train/loss"]
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in objective.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("changes", [{"weights": "bf16", "optimizer": "adamw8"}], ids=str)
def test_a_resumed_run_of_small_weights_ends_in_the_same_bytes(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    def run(place: Path) -> dict:
        objective = objective_of("causal", corpus, **changes)
        train(objective, objective.cfg, 12, place / "live", Work(place / "work", "code", 0.0), "key")
        return objective.model.state_dict()

    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        strike_at("recorded", 7, patch)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed")
    resumed = run(tmp_path / "killed")
    assert all(whole[name].equal(resumed[name]) for name in whole)
