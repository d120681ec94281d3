"""Weights in fewer bits while a model trains: all of them in bf16, or those that stay as they are beside adapters in four bits (NF4).

NF4 has the 16 quantiles of a normal distribution, and a scale for each 64 weights (Dettmers et al. 2023, QLoRA, arXiv 2305.14314);
a matrix is unpacked where it is multiplied by, forward and backward, and never kept. `grown` makes an ordinary fp32 model again, of
the very weights that were trained beside, so that what is merged and saved is what was measured.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.models.blocks import blocks

FP32, BF16, NF4 = "32", "bf16", "nf4"
BLOCK = 64  # weights with one scale
LEVELS = (
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
)  # fmt: skip


def shrink(model: PreTrainedModel, weights: str) -> None:
    """Keep the model's weights in bf16, or in NF4 those of matrices inside blocks that do not learn; adapters stay in fp32."""
    if weights == FP32:
        return
    if weights == NF4:
        for block in blocks(model):
            for parent in list(block.modules()):
                for name, module in list(parent.named_children()):
                    if type(module) is torch.nn.Linear and not module.weight.requires_grad:
                        setattr(parent, name, Nf4Linear(module))
    has_frozen = any(not parameter.requires_grad for parameter in model.parameters())
    for parameter in model.parameters():
        if not (has_frozen and parameter.requires_grad):
            parameter.data = parameter.data.to(torch.bfloat16)


def grown(model: PreTrainedModel) -> None:
    """Turn all weights back into fp32, in place."""
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, Nf4Linear):
                setattr(parent, name, module.unpacked())
    model.float()


class Nf4Linear(torch.nn.Module):
    """A linear layer whose matrix does not learn, in four bits."""

    def __init__(self, source: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = source.in_features, source.out_features
        codes, scales = pack(source.weight.detach())
        self.codes: Tensor
        self.scales: Tensor
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.bias = source.bias

    def forward(self, inputs: Tensor) -> Tensor:
        device = inputs.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        shape = (self.out_features, self.in_features)
        product = _Product.apply(inputs.to(dtype), self.codes, self.scales, shape)
        return product if bias is None else product + bias

    def unpacked(self) -> torch.nn.Linear:
        """Return the ordinary layer of the same numbers."""
        layer = torch.nn.Linear(self.in_features, self.out_features, self.bias is not None, device=self.codes.device)
        layer.weight = torch.nn.Parameter(
            unpack(self.codes, self.scales, tuple(layer.weight.shape), torch.float32), requires_grad=False
        )
        if self.bias is not None:
            layer.bias = self.bias
        return layer


class _Product(torch.autograd.Function):
    """inputs @ weight.T, of which autograd keeps the packed weight alone."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, codes: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(codes, scales)
        ctx.shape = shape
        with torch.autocast(inputs.device.type, enabled=False):
            return F.linear(inputs, unpack(codes, scales, shape, inputs.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        codes, scales = ctx.saved_tensors
        with torch.autocast(gradients[0].device.type, enabled=False):
            return gradients[0] @ unpack(codes, scales, ctx.shape, gradients[0].dtype), None, None, None


def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix as two codes a byte (uint8 [n / 2]) and a scale for each block (fp32)."""
    flat = weight.float().flatten()
    padded = F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    scales = padded.abs().amax(1)
    levels = torch.tensor(LEVELS, device=weight.device)
    codes = torch.bucketize(padded / scales.clamp_min(1e-38)[:, None], (levels[1:] + levels[:-1]) / 2)
    pairs = codes.to(torch.uint8).view(-1, 2)
    return pairs[:, 0] << 4 | pairs[:, 1], scales


def unpack(codes: Tensor, scales: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return the matrix that `pack` took, nearly, in `dtype`."""
    levels = torch.tensor(LEVELS, device=codes.device, dtype=dtype)
    numbers = levels[torch.stack([codes >> 4, codes & 15], 1).int()].view(-1, BLOCK)
    flat = (numbers * scales.to(dtype)[:, None]).flatten()
    size = shape[0] * shape[1]
    return flat[:size].view(shape)
