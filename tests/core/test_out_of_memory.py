"""Memory that ran out is one paragraph with the knobs to turn, whoever says it and however; other errors are left alone."""

import errno
import importlib
import inspect
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.out_of_memory import explain_shortage, ran_out, shortage_explained
from privllm.parameters.listing import list_parameters
from tests.workshop import ROOT


def torch_takes(size: int) -> None:
    import torch

    torch.empty(size, dtype=torch.uint8)


def numpy_takes(size: int) -> None:
    import numpy as np

    np.empty(size, np.uint8)


@pytest.mark.torch
@pytest.mark.parametrize("take", [torch_takes, numpy_takes])
def test_a_real_shortage_is_told_from_other_errors(take) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        take(1 << 55)
    assert ran_out(raised.value)
    if take is torch_takes:
        assert type(raised.value) is RuntimeError
        assert "memory ran out (a piece of 36,028,797.02 GB was asked for)" in explain_shortage(raised.value)
    with pytest.raises((RuntimeError, ValueError)) as raised:
        take(-1)
    assert not ran_out(raised.value)


@pytest.mark.torch
def test_cuda_says_it_by_a_class_of_its_own() -> None:
    import torch

    error = torch.cuda.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which"
    )
    assert ran_out(error)
    assert explain_shortage(error).startswith("the GPU's memory ran out (a piece of 22.01 GB was asked for).")


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.92 GB)"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (Exception("Error while opening file: Cannot allocate memory (os error 12)"), True),  # safetensors
        (MemoryError(), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 9x3)"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (
            UserError("a worker process was killed, most likely because memory ran out: CUDA error: out of memory"),
            False,
        ),
        (KeyboardInterrupt(), False),
    ],
)
def test_how_others_say_it(error: BaseException, is_one: bool) -> None:
    assert ran_out(error) is is_one


def raise_in(knob: str, error: Exception) -> None:
    with shortage_explained(f"Lower `{knob}`"):
        raise error


def test_the_paragraph_says_what_to_lower() -> None:
    with pytest.raises(
        UserError, match=r"^memory ran out\. What was .* kept\. Lower `x.batch_size`, and run it again\.$"
    ):
        raise_in("x.batch_size", MemoryError())
    with pytest.raises(RuntimeError, match="shapes"):
        raise_in("x.batch_size", RuntimeError("shapes differ"))


STAGES = {  # what each calls, for which item, and the knobs that its paragraph must name
    "pretrain": (
        "pretrain",
        "causal",
        {"pretrain.causal.batch_size", "pretrain.causal.model", "pretrain.causal.precision", "pack.context"},
    ),
    "finetune": (
        "finetune",
        "gaps",
        {"finetune.tasks.gaps.batch_size", "finetune.tasks.gaps.lora.rank", "finetune.tasks.gaps.precision"},
    ),
    "align": ("align", "causal", {"align.batch_size", "align.lora.rank", "pretrain.causal.model"}),
    "evaluate": ("evaluate", "causal", {"evaluate.batch_rows", "pretrain.causal.model"}),
}


@pytest.mark.torch
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_runs_out_names_knobs_that_there_are(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"stages.{stage}")
    function, item, knobs = STAGES[stage]
    # `pretrain` and `finetune` are imported where it is known that there is work for torch.
    home = module if hasattr(module, function) else importlib.import_module(f"privllm.train.{function}")
    monkeypatch.setattr(home, function, lambda *_: torch_takes(1 << 55))
    (tmp_path / f"{stage}.json").write_text("{}")
    for name, value in (("FOLDER", tmp_path), ("require_verdict", lambda _: None), ("extensions_of", lambda _: ())):
        monkeypatch.setattr(module, name, value, raising=False)
    paths = [Path(item)] * len(inspect.signature(module.main).parameters)
    with pytest.raises(UserError, match="memory ran out") as raised:
        module.main(*paths)
    for knob in knobs:
        assert f"`{knob}`" in str(raised.value)
        default = knob.replace(f"finetune.tasks.{item}", "finetune.defaults")
        assert list_parameters(default, ROOT)


@pytest.mark.torch
def test_a_model_that_does_not_fit_is_explained_where_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from privllm.serve import terminal_chat
    from privllm.serve.engine import local
    from privllm.serve.engine.local import LocalEngine
    from privllm.serve.terminal_chat import Conversation
    from privllm.train import predict_lines

    monkeypatch.setattr(local, "open_folder", lambda *_: torch_takes(1 << 55))
    monkeypatch.setattr(terminal_chat, "open_folder", lambda *_: torch_takes(1 << 55))
    monkeypatch.setattr(predict_lines, "_json", lambda *_: torch_takes(1 << 55))
    with pytest.raises(UserError, match=r"memory ran out .* smaller model, or fewer callers at once \(`--batch`\)"):
        LocalEngine.open(tmp_path)
    with pytest.raises(UserError, match=r"memory ran out .* smaller model"):
        Conversation.open(tmp_path, None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"memory ran out .* smaller model"):
        predict_lines.open_tuned(tmp_path)
