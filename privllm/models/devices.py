"""What models run on: one device of this process, its precision and how exact it is. No other module asks for CUDA.

Training, evaluation, the gate, predictions and serving all take the device from here. A stage says with `device_config.use` what
params.yaml asks for; what is no stage runs on the GPU, where there is one. On a CPU nothing here changes a bit of a result.
`arithmetic` names what does, for the keys of results that are kept.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.models.device_config import chosen
from privllm.models.gpu_choice import free_gpu

CPU, CUDA = "cpu", "cuda"


def kind() -> str:
    """Return what models run on: "cuda" or "cpu". Raises UserError where a GPU is asked for that torch cannot use."""
    wanted, has_gpu = chosen().accelerator, torch.cuda.is_available()
    if wanted == CUDA and not has_gpu:
        raise UserError(
            "`train.accelerator` in params.yaml asks for cuda, but torch finds no GPU that it can use: "
            "`privllm doctor` says why; or set it to auto."
        )
    return CUDA if has_gpu and wanted != CPU else CPU


def on_gpu() -> bool:
    """Return whether models run on a GPU."""
    return kind() == CUDA


def place(model: PreTrainedModel) -> PreTrainedModel:
    """Move a model to the device of this process, and set how exact that is."""
    torch.backends.cuda.matmul.allow_tf32 = chosen().tf32
    torch.backends.cudnn.allow_tf32 = chosen().tf32
    if on_gpu() and chosen().processes == 1:
        torch.cuda.set_device(own_gpu())
    return model.to(kind())  # type: ignore[arg-type]


@cache
def own_gpu() -> int:
    """Return the GPU of a process that shares its work with none: of several one that no other process of ours has taken."""
    count = torch.cuda.device_count()
    if count < 2:
        return 0
    return free_gpu([str(torch.cuda.get_device_properties(number).uuid) for number in range(count)])


def is_deterministic() -> bool:
    """Return whether two runs here end in the same bytes."""
    return chosen().deterministic or not on_gpu()


def is_mixed(precision: str) -> bool:
    """Return whether matrix products are in bf16 for a `precision` of "32", "bf16" or "auto" (bf16 on CUDA, 32 on a CPU)."""
    return precision == "bf16" or (precision == "auto" and on_gpu())


def judging(precision: str, is_cut: bool = False) -> AbstractContextManager[object]:
    """Compute held-out passes as training does: on CUDA in its `precision`, on a CPU in fp32.

    Of a model that is cut, the blocks are put together in that precision, so there a CPU computes in it too.
    """
    if is_mixed(precision) and (on_gpu() or is_cut):
        return torch.autocast(kind(), torch.bfloat16)
    return nullcontext()


def arithmetic() -> str:
    """Return what can change the last bits of a result from machine to machine, in words that are equal where it cannot."""
    if not on_gpu():
        return CPU
    model = torch.cuda.get_device_name() if torch.cuda.device_count() else ""
    return f"{CUDA} {model} {chosen().tf32} {chosen().deterministic}"


def name() -> str:
    """Return what models run on, in words for people."""
    if on_gpu():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"the CPU with {threads} thread{'s' * (threads != 1)}"
