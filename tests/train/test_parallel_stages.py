"""Fine-tuning and alignment by two processes: near one, in the bytes of an unbroken run when one of them was killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.tiny_feedback import make_inputs
from tests.train.tiny_tasks import make_start, write_examples
from tests.workshop import ROOT

NIGHTLY = bool(os.environ.get("PRIVLLM_NIGHTLY"))
STAGES = ["finetune", "align"]
PHASE = {"finetune": "random", "align": "dpo"}  # in which a process dies: the first of two trainings, and the second
KILLED = [("finetune", "ddp", 1), ("align", "ddp", 0), ("finetune", "fsdp", 1), ("align", "fsdp", 1)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    make_inputs(root)
    make_start("masked", root / "masked", root / "tokenizer")
    write_examples(root / "classification.jsonl", "classification")
    return root


def run(stage: str, shop: Path, place: Path, *words: str, fails: bool = False) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.train.shared_stage", stage, str(shop), str(place), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert bool(done.returncode) == fails, done.stderr
    return done


def unbroken(stage: str, shop: Path, *words: str) -> Path:
    place = shop / "-".join([stage, *words])
    if not place.exists():
        run(stage, shop, place, *words)
    return place


def assert_same_bytes(place: Path, other: Path) -> None:
    for folder in ("out", "live"):
        files = sorted(path.relative_to(other) for path in (other / folder).rglob("*") if path.is_file())
        assert files
        for file in files:
            assert (place / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.skipif(not NIGHTLY, reason="nightly: test_parallel.py shares a pretraining by default")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(shop: Path, stage: str, strategy: str) -> None:
    """Weights to 2e-3, after some sixty steps whose sums are taken in another order."""
    one = unbroken(stage, shop)
    two = unbroken(stage, shop, "devices=2", f"strategy={strategy}")
    weights, others = (load_file(place / "out/model.safetensors") for place in (one, two))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=0, atol=2e-3, msg=name)
    facts = [json.loads((place / "out/training.json").read_text()) for place in (one, two)]
    steps = [fact.get("align", fact).get("dpo", fact).get("steps") for fact in facts]
    assert steps[0] == steps[1]
    assert not (two / "work/mine").exists()


@pytest.mark.skipif(not NIGHTLY, reason="nightly: test_launch.py kills one of two by default")
@pytest.mark.parametrize(("stage", "strategy", "rank"), KILLED)
def test_one_of_two_that_is_killed_changes_no_byte(
    shop: Path, tmp_path: Path, stage: str, strategy: str, rank: int
) -> None:
    words = ["devices=2", f"strategy={strategy}"]
    whole = unbroken(stage, shop, *words)
    died = run(stage, shop, tmp_path, *words, f"dies={rank}:9", f"section={PHASE[stage]}", fails=True)
    if rank:
        assert "error: one of the 2 processes of this training has ended" in died.stderr
    assert not (tmp_path / "out/model.safetensors").exists()
    again = run(stage, shop, tmp_path, *words)
    assert "goes on from step 9/" in again.stderr
    assert_same_bytes(tmp_path, whole)
