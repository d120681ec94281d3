"""Qwen3's own arithmetic in fewer passes over memory, while a model trains: norms and rotary positions.

Beside matrix products they cost most of a small model's step on a CPU, since stock transformers lets autograd keep and
re-read each intermediate result. Here both have their derivative written out. Only `forward` of the model's own modules is
replaced, and put back after: parameters, their names and what is saved stay stock. Nothing is replaced in other architectures,
and under `torch.compile`, which fuses by itself. Whoever trains decides where it pays (`train.loop`: in fp32 on a CPU). The
loss of the head is left to torch: made in parts, together with its gradient, it took as long.

Shapes: B rows, T tokens, H heads, D width (of the model, or of a head).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3RMSNorm, eager_attention_forward


@contextmanager
def lean_blocks(model: PreTrainedModel) -> Iterator[None]:
    """Compute the model's norms and attention in fewer passes inside the `with`; a model without such modules is left alone."""
    replaced: list[torch.nn.Module] = []
    is_compiled = any(module._compiled_call_impl is not None for module in model.modules())
    for module in () if is_compiled else model.modules():
        forward = _lean_forward_of(module)
        if forward is not None and "forward" not in vars(module):
            module.forward = forward
            replaced.append(module)
    try:
        yield
    finally:
        for module in replaced:
            del module.forward  # the class's own shows again


def _lean_forward_of(module: torch.nn.Module) -> Callable[..., Any] | None:
    """Return what replaces the module's `forward`, or None; subclasses may compute something else."""
    if type(module) is Qwen3RMSNorm:
        return partial(_norm_forward, module)
    if type(module) is Qwen3Attention:
        return partial(_attention_forward, module)
    return None


def _norm_forward(module: Any, hidden_states: Tensor) -> Tensor:
    return rms_norm(hidden_states, module.weight, module.variance_epsilon)


def _attention_forward(
    module: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None,
    past_key_values: Any = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Do as Qwen3Attention does, but for `rotate`."""
    per_head = (*hidden_states.shape[:-1], -1, module.head_dim)
    cos, sin = (table.unsqueeze(-2) for table in position_embeddings)  # [B or 1, T, 1, D]
    query_BTHD = module.q_norm(module.q_proj(hidden_states).view(per_head))
    key_BTHD = module.k_norm(module.k_proj(hidden_states).view(per_head))
    query_BHTD = rotate(query_BTHD, cos, sin).transpose(1, 2)
    key_BHTD = rotate(key_BTHD, cos, sin).transpose(1, 2)
    value_BHTD = module.v_proj(hidden_states).view(per_head).transpose(1, 2)
    if past_key_values is not None:
        key_BHTD, value_BHTD = past_key_values.update(key_BHTD, value_BHTD, module.layer_idx)
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(module.config._attn_implementation, eager_attention_forward)
    mixed, weights = attend(
        module,
        query_BHTD,
        key_BHTD,
        value_BHTD,
        attention_mask,
        dropout=module.attention_dropout if module.training else 0.0,
        scaling=module.scaling,
        sliding_window=module.sliding_window,
        **options,
    )
    return module.o_proj(mixed.reshape(*hidden_states.shape[:-1], -1)), weights


def rms_norm(hidden: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
    """Return hidden / sqrt(mean(hidden²) + epsilon) * weight over the last dimension, which is computed in fp32."""
    return _RmsNorm.apply(hidden, weight_D, epsilon)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        in_fp32 = hidden.float()
        norm = torch.linalg.vector_norm(in_fp32, dim=-1, keepdim=True)
        inverse = norm.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, weight_D, inverse)
        return (in_fp32 * inverse).to(hidden.dtype) * weight_D

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        hidden, weight_D, inverse = ctx.saved_tensors
        gradient_fp32 = gradient.float()
        unit = hidden.float() * inverse
        products = gradient_fp32 * unit
        width = hidden.shape[-1]
        weight_gradient = products.reshape(-1, width).sum(0)
        mean = (products @ weight_D.float()).div_(-width).unsqueeze(-1)
        hidden_gradient = (gradient_fp32 * weight_D).addcmul_(unit, mean).mul_(inverse)
        return hidden_gradient.to(hidden.dtype), weight_gradient.to(weight_D.dtype), None


def rotate(heads_BTHD: Tensor, cos_BT1D: Tensor, sin_BT1D: Tensor) -> Tensor:
    """Return rotary positions applied to each head, whose halves are the two coordinates (Su et al. 2021, as in Llama)."""
    return _Rotate.apply(heads_BTHD, cos_BT1D, sin_BT1D)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(heads, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(gradients[0], cos, sin, -1.0), None, None  # a rotation's transpose turns back


def _turn(heads: Tensor, cos: Tensor, sin: Tensor, direction: float) -> Tensor:
    half = heads.shape[-1] // 2
    turned = heads * cos
    turned[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-direction)
    turned[..., half:].addcmul_(heads[..., :half], sin[..., half:], value=direction)
    return turned
