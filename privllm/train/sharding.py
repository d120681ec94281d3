"""A model cut into shares: each process keeps its rows of every weight, gradient and state, and borrows the rest block by block.

This is torch's fully_shard (FSDP2). A block's weights are whole while it computes and no longer; its gradients are summed and cut
again at once. What is updated, saved and loaded are shares. Weights that are tied or outside the blocks (embeddings, the head)
form a share of their own. What a process computes beyond its own rows is thrown away with the block.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.models.blocks import blocks
from privllm.models.device_config import chosen
from privllm.models.devices import kind, on_gpu
from privllm.models.small_weights import NF4
from privllm.train.memory_need import Shape, Way, bytes_needed, shape_of
from privllm.train.memory_need import is_cut as is_needed
from privllm.train.parallel import group

DDP, FSDP = "ddp", "fsdp"


class Whole(torch.nn.Module):
    """Calls functions of a model that was cut, with the weights outside its blocks whole."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[..., Any], *arguments: Any) -> Any:
        return compute(*arguments)


def strategy_for(shape: Shape | None, way: Way, rows: int, length: int, card: int) -> str:
    """Return how the processes of a training share it: "ddp", all of them hold the model, or "fsdp", each a share.

    `auto` cuts a model that does not fit into a card of `card` bytes (0: unknown, or none). Raises UserError for what cannot be cut.
    """
    wanted = chosen().strategy
    if wanted == FSDP and way.weights == NF4:
        raise UserError(
            "`train.strategy` in params.yaml is fsdp, which cuts weights into rows, but `weights` is nf4, which packs them: "
            "set `weights` to bf16, or `strategy` to ddp."
        )
    need = bytes_needed(shape, way, rows, length) if shape else 0
    return FSDP if is_needed(wanted, way, need, card) else DDP


def card_bytes() -> int:
    """Return how much memory this process's GPU has, 0 on a CPU."""
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory if on_gpu() else 0


def shape_and_way(model: PreTrainedModel, weights: str, optimizer: str, is_mixed: bool) -> tuple[Shape | None, Way]:
    """Return what `memory_need` wants to know of a model that is about to be trained."""
    adapted = [module for module in model.modules() if isinstance(module, LoraLayer)]
    ranks = [rank for module in adapted for rank in module.r.values()]
    return shape_of(model.config.to_dict()), Way(weights, optimizer, max(ranks, default=0), is_mixed, on_gpu())


def copied(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of the model on this process's device, compiled as it is, that may be cut."""
    copy_of_model = copy.deepcopy(model)
    for block, original in zip(blocks(copy_of_model), blocks(model), strict=True):
        if original._compiled_call_impl is not None:
            block.compile()  # which a copy forgets
    return copy_of_model.to(kind())  # type: ignore[arg-type]


def cut_up(model: PreTrainedModel, is_mixed: bool) -> Whole:
    """Cut a model, in place, so that this process holds a share of it; from now on it computes within `Whole` alone.

    Where products are in bf16, blocks are put together in bf16 too: half the traffic, and no copies for autocast to keep.
    """
    options: Any = {"mesh": own_mesh(), "reshard_after_forward": True}
    borrowed = torch.bfloat16 if is_mixed else None
    summed: Any = {"reduce_dtype": torch.float32, "cast_forward_inputs": False}
    for block in blocks(model):
        fully_shard(block, **options, mp_policy=MixedPrecisionPolicy(borrowed, **summed))
    whole = Whole(model)
    fully_shard(whole, **options, mp_policy=MixedPrecisionPolicy(**summed))
    for module in whole.modules():
        if isinstance(module, FSDPModule):
            # losses are shares of one mean already, so gradients are added up; gloo knows no other sum
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return whole


def own_mesh() -> DeviceMesh:
    """Return the processes of this training in torch's form."""
    if not _meshes:
        _meshes.append(init_device_mesh(kind(), (group().size,)))
    return _meshes[0]


_meshes: list[DeviceMesh] = []


def leave_mesh() -> None:
    """Forget the processes, before their group ends."""
    _meshes.clear()


@torch.no_grad()
def put_together(cut: torch.nn.Module, model: PreTrainedModel) -> None:
    """Copy the weights that were trained in shares into the first process's own `model`, one after the other."""
    targets = dict(model.named_parameters())
    for name, parameter in cut.named_parameters():
        full = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        if group().writes:
            target = targets[name]
            target.data = full.to(target.device, full.dtype)


def is_cut(tensor: torch.Tensor) -> bool:
    """Return whether this process holds rows of a tensor alone."""
    return isinstance(tensor, DTensor)


def share(tensor: torch.Tensor) -> torch.Tensor:
    """Return this process's rows of a tensor that is cut; another one as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def cut_like(rows: torch.Tensor, model: DTensor) -> DTensor:
    """Return what all processes' own `rows` are together, which are cut as `model` is."""
    shape = torch.Size((model.shape[0], *rows.shape[1:]))
    return as_share(rows, shape, model.device_mesh)


def zeros_like(parameter: torch.Tensor) -> torch.Tensor:
    """Return zeros that are cut as a parameter is, made in rows from the start."""
    zeros = torch.zeros_like(share(parameter))
    return cut_like(zeros, parameter) if isinstance(parameter, DTensor) else zeros


def as_share(rows: torch.Tensor, shape: torch.Size, mesh: DeviceMesh) -> DTensor:
    """Return the tensor of `shape` of which this process has these rows."""
    strides = torch.empty(shape, device="meta").stride()
    on_device = rows.to(mesh.device_type)
    return DTensor.from_local(on_device, mesh, [Shard(0)], run_check=False, shape=shape, stride=strides)


def rows_of(total: int, rank: int, size: int) -> tuple[int, int]:
    """Return the first of so many rows that a process has, and the one behind its last: as torch cuts them."""
    each = -(-total // size)
    return min(total, rank * each), min(total, (rank + 1) * each)


def rows_of_group(total: int) -> tuple[int, int]:
    """Return which of so many rows this process has."""
    return rows_of(total, group().rank, group().size)


def taken_over(value: Any, parameter: torch.Tensor) -> Any:
    """Return a weight or state of a whole model as this process's share, where the parameter is cut and the value is not yet."""
    is_whole = isinstance(value, torch.Tensor) and not isinstance(value, DTensor)
    if not isinstance(parameter, DTensor) or not is_whole or not value.dim():
        return value
    begin, end = rows_of_group(len(value))
    return cut_like(value[begin:end].clone(), parameter)
