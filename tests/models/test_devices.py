"""Where models run: what params.yaml asks for, and what counts in a key. That no other module asks for CUDA is read off the code."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from privllm.core.errors import UserError
from privllm.models import devices
from privllm.models.device_config import DevicesConfig, chosen, use
from tests.workshop import ROOT

ASK_BY_THEMSELVES = {
    "privllm/models/devices.py",
    "privllm/models/torch_probe.py",  # a process of its own, for `doctor`
}


@pytest.fixture(autouse=True)
def choice_put_back() -> Iterator[None]:
    before = chosen()
    yield
    use(before)


def with_gpu(patch: pytest.MonkeyPatch, there: bool) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: there)


@pytest.mark.parametrize(
    ("wanted", "has_gpu", "kind"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device_is_as_asked(monkeypatch: pytest.MonkeyPatch, wanted: str, has_gpu: bool, kind: str) -> None:
    with_gpu(monkeypatch, has_gpu)
    use(DevicesConfig(accelerator=wanted))
    assert devices.kind() == kind
    assert devices.on_gpu() == (kind == "cuda")


def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, False)
    use(DevicesConfig(accelerator="cuda"))
    with pytest.raises(UserError, match=r"`train\.accelerator`.*privllm doctor"):
        devices.kind()


def test_only_what_changes_a_result_changes_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, False)
    on_cpu = set()
    for cfg in (DevicesConfig(), DevicesConfig("cpu"), DevicesConfig(tf32=True), DevicesConfig(deterministic=False)):
        use(cfg)
        on_cpu.add(devices.arithmetic())
    assert len(on_cpu) == 1, "on a CPU nothing does"
    with_gpu(monkeypatch, True)
    on_gpu = set()
    for cfg in (DevicesConfig(), DevicesConfig(tf32=True), DevicesConfig(deterministic=False)):
        use(cfg)
        on_gpu.add(devices.arithmetic())
    assert len(on_gpu) == 3
    assert not on_gpu & on_cpu


@pytest.mark.parametrize(
    ("precision", "has_gpu", "mixed"),
    [("auto", True, True), ("auto", False, False), ("32", True, False), ("bf16", False, True)],
)
def test_precision(monkeypatch: pytest.MonkeyPatch, precision: str, has_gpu: bool, mixed: bool) -> None:
    with_gpu(monkeypatch, has_gpu)
    assert devices.is_mixed(precision) == mixed


def test_held_out_passes_are_in_the_precision_of_training_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, False)
    with devices.judging("bf16"):
        assert not torch.is_autocast_enabled("cpu")
    with_gpu(monkeypatch, True)
    asked: list[Any] = []
    monkeypatch.setattr(torch, "autocast", lambda *given: asked.append(given) or nullcontext())
    for precision in ("auto", "bf16", "32"):
        with devices.judging(precision):
            pass
    assert asked == [("cuda", torch.bfloat16)] * 2


def test_a_process_that_is_alone_takes_a_free_gpu_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, True)
    placed: list[int] = []
    monkeypatch.setattr(devices, "own_gpu", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", placed.append)
    model: Any = SimpleNamespace(to=lambda kind: kind)
    assert devices.place(model) == "cuda"
    use(DevicesConfig(devices=2))
    devices.place(model)
    assert placed == [2]


@pytest.mark.parametrize(("count", "asked"), [(0, []), (1, []), (2, [["uuid-0", "uuid-1"]])])
def test_gpus_are_told_apart_by_what_they_are(monkeypatch: pytest.MonkeyPatch, count: int, asked: list) -> None:
    named: list[list[str]] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"uuid-{number}"))
    monkeypatch.setattr(devices, "free_gpu", lambda names: named.append(names) or len(names) - 1)
    assert devices.own_gpu.__wrapped__() == max(0, count - 1)
    assert named == asked


def test_nothing_else_asks_for_cuda() -> None:
    asking = set()
    for path in (ROOT / "privllm").rglob("*.py"):
        if re.search(r"cuda\.is_available|device\(\"cuda|to\(\"cuda", path.read_text("utf-8")):
            asking.add(path.relative_to(ROOT).as_posix())
    assert asking == ASK_BY_THEMSELVES


def test_a_model_is_placed_as_exactly_as_asked() -> None:
    was = torch.backends.cuda.matmul.allow_tf32
    try:
        for tf32 in (True, False):
            use(DevicesConfig(accelerator="cpu", tf32=tf32))
            assert devices.place(torch.nn.Linear(1, 1)).weight.device.type == "cpu"  # type: ignore[arg-type]
            assert torch.backends.cuda.matmul.allow_tf32 == tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = was
