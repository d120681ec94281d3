from pathlib import Path

import pytest

from privllm.manage import training_machine as module
from privllm.manage.training_machine import TrainingMachine, training_machine

GIB = 1 << 30


def test_the_machine_is_the_gpu_where_torch_can_use_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = tmp_path / "nvidia0"
    monkeypatch.setattr(module, "GPU_SIGNS", (sign,))
    assert not training_machine("auto").is_gpu
    sign.touch()
    monkeypatch.setattr(module, "probe_torch", lambda: {"gpus": [{"name": "A100", "bytes": 80 * GIB}]})
    assert training_machine("auto") == TrainingMachine("this card (A100)", 80 * GIB, True)
    assert not training_machine("cpu").is_gpu
    monkeypatch.setattr(module, "probe_torch", lambda: {"error": "no driver"})
    found = training_machine("auto")
    assert found.name == "this machine"
    assert found.bytes > GIB / 4
