"""The benchmarks of training still fit what they measure."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import gpu, lora, scale
from benchmarks.step import measure
from privllm.train.memory_need import GIB
from tests.workshop import ROOT

NIGHTLY = bool(os.environ.get("PRIVLLM_NIGHTLY"))


def test_a_step_is_measured_by_its_parts() -> None:
    found = measure(rounds=2, vocabulary=300)
    assert all(0 < seconds < math.inf for parts in found["milliseconds"].values() for seconds in parts.values())
    assert found["flops_over_sgemm"]["ours"] > 0


def in_this_process(what: str, *words: object, may_die: bool = False) -> Any:
    return None if may_die else gpu.one(what, [str(word) for word in words])


def test_what_is_measured_of_a_gpu_runs_on_a_cpu_at_a_toy_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "alone", in_this_process)
    found = gpu.measure(["tiny"], gpu.WARM + 3, 64, "tiny")
    assert_measured(found)


def test_adapters_are_measured_beside_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "alone", in_this_process)
    found = lora.compare("tiny", gpu.WARM + 3, rounds=1)
    assert found["ours / peft"]["tokens_per_second"] > 0


@pytest.mark.parametrize("measured", [gpu.ours, gpu.ours_lora, gpu.peft])
def test_each_step_counts_once(measured: Callable[..., dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which making a step's rows, and nothing else, takes a second."""
    now, made = 0, gpu.rows_of
    size = gpu.SIZES["tiny"]

    def rows_in_a_second(size: gpu.Size, step: int) -> torch.Tensor:
        nonlocal now
        now += 1
        return made(size, step)

    monkeypatch.setattr(gpu, "rows_of", rows_in_a_second)
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: now)
    assert measured(size, gpu.WARM + 4)["tokens_per_second"] == size.rows * size.length


@pytest.mark.skipif(not NIGHTLY, reason="nightly: ten processes")
def test_the_whole_script_runs_where_there_is_no_gpu() -> None:
    """With one of its runs killed."""
    done = run("--tiny")
    assert done.returncode == 0, done.stderr
    assert "goes on from step" in done.stderr
    assert_measured(json.loads(done.stdout.splitlines()[-1]))


def assert_measured(found: dict[str, Any]) -> None:
    assert found["product_tflops"] > 0
    for name in ("ours", "trainer", "ours_lora", "peft"):
        assert found["tiny"][name]["tokens_per_second"] > 0
        assert found["tiny"][name]["peak_gib"] > 0
    assert 0 < found["tiny"]["ours"]["share"] < 1
    assert found["tiny"]["ours"]["times_trainer"] > 0
    assert found["tiny"]["ours_lora"]["times_peft"] > 0
    assert 0 < found["loss_difference"] < 0.01
    assert found["same_bytes"] is True


def run(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.gpu", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="there is no CUDA here, so nothing was measured"):
        gpu.main()


def test_a_token_costs_six_times_the_weights_and_attention() -> None:
    size = gpu.SIZES["124M"]
    weights = sum(parameter.numel() for parameter in gpu.model_of(size, "sdpa").parameters())
    attention = 6 * size.layers * size.width * size.length
    assert gpu.flops_of_token(size) == pytest.approx(6 * weights + attention, rel=0.001)
    assert 0.12e9 < weights < 0.13e9


@pytest.mark.parametrize("model", scale.SHAPES)
def test_what_models_need_on_many_cards_fits_into_them(model: str) -> None:
    rows = [scale.row_of(model, cards) for cards in (1, 8, 512)]
    assert all(0 < row.gib * GIB <= scale.CARD for row in rows)
    assert rows[0].traffic == 0
    assert rows[0].hours > rows[1].hours > rows[2].hours


def test_the_formulas_of_traffic_and_hours() -> None:
    """Of 7 B on eight cards, by hand: 6,738 million weights, of which norms are left out."""
    row = scale.row_of("7 B", 8)
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11_008) + 2 * 32_000 * 4096
    assert row.strategy == "fsdp"
    assert row.traffic == 8 * weights * 7 / 8
    assert row.hours == pytest.approx(6 * weights * 20 * weights / (8 * 0.4 * 989e12) / 3600)
