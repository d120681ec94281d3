"""What the plan says of memory: the training that needs most, those that do not fit, and nothing of what cannot be known."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.manage.planned_stages import RUNS, Plan, PlannedStage
from privllm.manage.training_machine import TrainingMachine
from privllm.parameters.memory_needs import memory_notes
from tests.workshop import ROOT

GIB = 1 << 30
MACHINE = TrainingMachine("this machine", 24 * GIB, False)
CARD = TrainingMachine("this card (A100)", 80 * GIB, True)
QWEN_8B = {
    "hidden_size": 4096, "num_hidden_layers": 36, "intermediate_size": 12_288, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "vocab_size": 151_936, "tie_word_embeddings": False, "max_position_embeddings": 40_960,
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    folder = tmp_path / "data/base/eight"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(QWEN_8B))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_params(project: Path, section: str, values: dict[str, Any]) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text("utf-8"))
    part = params
    for name in section.split("."):
        part = part.setdefault(name, {})
    part.update(values)
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def test_the_demo_fits_and_one_line_says_so(project: Path) -> None:
    stages = [
        "fingerprint",
        "pretrain@causal",
        "pretrain@seq2seq",
        "finetune@docstring",
        "align@causal",
        "align@masked",
        "report",
    ]
    (note,) = memory_notes(stages, MACHINE)
    assert note.startswith("memory: ")
    assert note.endswith(" GiB, this machine has 24.")
    need = float(note.split("about ")[1].split(" GiB")[0])
    assert 0.5 < need < 3


def test_a_build_without_training_has_no_line(project: Path) -> None:
    assert memory_notes(["collect", "clean", "align@masked"], MACHINE) == []


def test_a_model_that_does_not_fit_is_named_with_what_to_do(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text("utf-8")) | {"base": "data/base/eight"}
    params["pack"] = {"context": 4096}
    params["pretrain"]["causal"]["from_base"] = {"lora": {"rank": 0}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    said = memory_notes(["pretrain@causal"], CARD)
    assert said[0].startswith("memory: pretrain@causal needs about 1")
    assert said[0].endswith("this card (A100) has 80.")
    assert "`weights: nf4`" in said[1]
    assert "pretrain@causal needs more than this card" in said[1]
    set_params(project, "pretrain.causal", {"weights": "bf16"})
    set_params(project, "pretrain.causal.from_base", {"optimizer": "adamw8"})
    (fits,) = memory_notes(["pretrain@causal"], CARD)
    assert 40 < float(fits.split("about ")[1].split(" GiB")[0]) < 78


def test_several_cards_hold_shares_and_several_processes_of_a_cpu_one_each(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text("utf-8")) | {"base": "data/base/eight"}
    params["pretrain"]["causal"] |= {"batch_size": 8, "from_base": {"lora": {"rank": 0}}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert len(memory_notes(["pretrain@causal"], CARD)) == 2  # one card: too small
    set_params(project, "train", {"devices": 8})
    (fits,) = memory_notes(["pretrain@causal"], CARD)
    assert "GiB on each of 8 cards, this card (A100) has 80." in fits
    set_params(project, "train", {"strategy": "ddp"})
    assert len(memory_notes(["pretrain@causal"], CARD)) == 2
    shared = float(memory_notes(["align@causal"], MACHINE)[0].split("about ")[1].split(" GiB")[0])
    set_params(project, "train", {"devices": 1})
    alone = float(memory_notes(["align@causal"], MACHINE)[0].split("about ")[1].split(" GiB")[0])
    assert shared > 3 * alone


def test_a_task_is_of_the_model_that_it_begins_with(project: Path) -> None:
    small = memory_notes(["finetune@questions"], MACHINE)
    set_params(
        project,
        "finetune.tasks.questions",
        {"start": "data/base/eight", "lora": {"rank": 16}, "weights": "nf4", "optimizer": "adamw"},
    )
    large = memory_notes(["finetune@questions"], MACHINE)
    assert small != large
    assert len(large) == 1, "eight billion weights in four bits fit into 24 GiB"
    set_params(project, "finetune.tasks.questions", {"start": "data/base/not-there"})
    assert memory_notes(["finetune@questions"], MACHINE) == []


def test_the_plan_says_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(*stages: str) -> str:
        steps = [PlannedStage(stage, RUNS, [], 1.0, None) for stage in stages]
        monkeypatch.setattr("privllm.manage.plan.make_plan", lambda stage: Plan(steps, []))
        return CliRunner().invoke(app, ["plan"]).output

    monkeypatch.setattr("privllm.manage.training_machine.training_machine", lambda accelerator: MACHINE)
    assert "memory: pretrain@causal needs about" in planned("collect", "pretrain@causal")
    assert "memory" not in planned("collect")
