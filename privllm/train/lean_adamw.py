"""AdamW for models that hardly fit: both of its states in 8 bits, and weights in bf16 whose updates are rounded at random.

A state is kept block by block of 256 numbers of a row, as one scale and codes of a table that is finest near zero (Dettmers et
al. 2021, arXiv 2110.02861). A weight in bf16 has 8 bits, and most updates are smaller than half its last one: rounded to the
nearest they would all be lost, rounded at random by how near the two neighbours are they are right on average (Gupta et al. 2015,
arXiv 1502.02551). So a parameter takes 2 bytes, its gradient 2 and its states 2, where fp32 with AdamW takes 16. Chance is a
function of the step. No block is of two rows, so a parameter can be cut into rows for several processes (`sharding`); a vector has
a scale for each number.

All is done in pieces, so that what is unpacked at one time is small beside the model.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from privllm.core.seed import seed_of
from privllm.train.muon import BETA1, BETA2, EPSILON
from privllm.train.parallel import group as processes
from privllm.train.sharding import cut_like, share, taken_over

BLOCK = 256  # numbers with one scale
PIECE = 1 << 22  # numbers that are unpacked at once
DECADES = 7  # orders of magnitude that the table covers below its largest number


@lru_cache(4)
def table(signed: bool) -> tuple[float, ...]:
    """Return the 256 numbers in [-1, 1], or [0, 1], that codes stand for, ascending: ever more of them the larger the magnitude."""
    bits = 7 if signed else 8
    positive: list[float] = []
    for decade in range(DECADES):
        count = 2 ** (decade + bits - DECADES)
        largest = 10.0 ** (decade - DECADES + 1)
        positive += [largest * (0.1 + 0.9 * (index + 0.5) / count) for index in range(count)]
    positive += [1.0]
    numbers = sorted([-value for value in positive if signed] + [0.0] + positive)
    while len(numbers) > 256:  # the least of the positive ones, which zero is near enough to
        numbers.pop(numbers.index(0.0) + 1)
    while len(numbers) < 256:
        numbers.insert(numbers.index(0.0) + 1, numbers[numbers.index(0.0) + 1] / 2)
    return tuple(numbers)


def pack(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Return codes (uint8 [rows, n]) and scales (fp32 [rows, blocks]) of fp32 [rows, n]."""
    rows, width = values.shape
    numbers = torch.tensor(table(signed), device=values.device)
    padded = torch.nn.functional.pad(values, (0, -width % BLOCK)).view(rows, -(-width // BLOCK), BLOCK)
    scales = padded.abs().amax(2)
    borders = (numbers[1:] + numbers[:-1]) / 2
    codes = torch.bucketize(padded / scales.clamp_min(1e-38)[:, :, None], borders)
    return codes.to(torch.uint8).view(rows, -1)[:, :width], scales


def unpack(codes: Tensor, scales: Tensor, signed: bool) -> Tensor:
    """Return the fp32 numbers [rows, n] that `pack` took, nearly."""
    numbers = torch.tensor(table(signed), device=codes.device)
    return numbers[codes.int()] * scales.repeat_interleave(BLOCK, 1)[:, : codes.shape[1]]


def rounded_at_random(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return fp32 numbers as bf16: up or down, the nearer neighbour the likelier, so that the mean is kept."""
    noise = torch.randint(0, 1 << 16, values.shape, generator=generator, dtype=torch.int32, device=values.device)
    bits = (values.view(torch.int32) + noise) & -(1 << 16)
    return bits.view(torch.float32).to(torch.bfloat16)


class LeanAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019) whose groups each have `lr` and `weight_decay`."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(list(groups), {"lr": lr, "weight_decay": weight_decay})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state as it was saved; torch's own would turn codes and scales into the type of the weights."""
        super().load_state_dict(state_dict)
        for group, saved_group in zip(self.param_groups, state_dict["param_groups"], strict=True):
            for parameter, number in zip(group["params"], saved_group["params"], strict=True):
                for name, value in state_dict["state"].get(number, {}).items():
                    is_tensor = isinstance(value, Tensor)
                    own = value.detach().clone().to(parameter.device) if is_tensor else value
                    self.state[parameter][name] = taken_over(own, parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; those without one are left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                if parameter.grad is not None:
                    self._update(parameter, group, number)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], number: int) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            for name, signed in (("mean", True), ("square", False)):
                state[name], state[f"{name}_scale"] = _zeros(parameter, signed)
        state["step"] += 1
        step = state["step"]
        own_chance = [processes().rank] if isinstance(parameter, DTensor) else []
        generator = torch.Generator(parameter.device).manual_seed(seed_of("rounding", number, step, *own_chance))
        weights = _as_rows(share(parameter))
        gradient = _as_rows(share(parameter.grad).contiguous())  # type: ignore[arg-type]
        states = {name: share(value) for name, value in state.items() if name != "step"}
        for piece in _pieces(*weights.shape):
            change = _adam(states, piece, gradient[piece].float(), step)
            updated = weights[piece].float().mul_(1 - group["lr"] * group["weight_decay"])
            updated.add_(change, alpha=-group["lr"])
            is_bf16 = parameter.dtype == torch.bfloat16
            weights[piece] = rounded_at_random(updated, generator) if is_bf16 else updated.to(parameter.dtype)


def _adam(states: dict[str, Tensor], piece: slice, gradient: Tensor, step: int) -> Tensor:
    """Return what AdamW subtracts per unit of learning rate, and write the states of a piece's rows."""
    mean = unpack(states["mean"][piece], states["mean_scale"][piece], True).lerp_(gradient, 1 - BETA1)
    square = unpack(states["square"][piece], states["square_scale"][piece], False)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    states["mean"][piece], states["mean_scale"][piece] = pack(mean, True)
    states["square"][piece], states["square_scale"][piece] = pack(square, False)
    root = square.div_(1 - BETA2**step).sqrt_().add_(EPSILON)
    return mean.div_(1 - BETA1**step).div_(root)


def _as_rows(tensor: Tensor) -> Tensor:
    """Return a tensor's numbers as [rows, n], of a vector as a row for each."""
    return tensor.view(len(tensor), -1) if tensor.dim() else tensor.view(1, 1)


def _pieces(rows: int, width: int) -> Iterator[slice]:
    """Yield which rows are unpacked at once."""
    at_once = max(1, PIECE // max(1, width))
    for start in range(0, rows, at_once):
        yield slice(start, start + at_once)


def _zeros(parameter: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Return codes and scales of zeros; of a parameter that is cut, cut as that is."""
    rows = _as_rows(share(parameter))
    codes = torch.full(rows.shape, table(signed).index(0.0), dtype=torch.uint8, device=rows.device)
    scales = torch.zeros(len(rows), -(-rows.shape[1] // BLOCK), device=rows.device)
    if isinstance(parameter, DTensor):
        return cut_like(codes, parameter), cut_like(scales, parameter)
    return codes, scales
