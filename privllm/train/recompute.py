"""Activation checkpointing: what a block computes inside is not kept for the backward pass but computed again there.

It takes a third more time and, of each block, the memory of its input alone (Chen et al. 2016, arXiv 1604.06174). Gradients are the
same bits on a CPU: the same operations run on the same numbers, dropout included. So it is in no key, and where it is left to
`auto` the parts of a step decide one by one: those whose activations are beyond what `activations` allows for are computed again.
"""

from typing import Any

from transformers import PreTrainedModel

from privllm.models.blocks import blocks, text_config
from privllm.models.devices import on_gpu

AUTO, ALWAYS, NEVER = "auto", "always", "never"
GIB = 1 << 30
ROOM = {False: 6 * GIB, True: 24 * GIB}  # for the activations of one pass, on a CPU and on a GPU
WIDTHS, INNER_WIDTHS = (
    16,
    5,
)  # numbers that a block keeps of each position: in widths of the model, and of its feed-forward part


def bytes_of_position(model: PreTrainedModel, is_mixed: bool) -> int:
    """Return about how many bytes of activations all blocks keep of one position."""
    config = text_config(model)
    inner = next(
        (
            value
            for name in ("intermediate_size", "d_ff", "n_inner", "hidden_dim")
            if (value := getattr(config, name, 0))
        ),
        4 * config.hidden_size,
    )
    numbers = WIDTHS * config.hidden_size + INNER_WIDTHS * inner
    return len(blocks(model)) * numbers * (3 if is_mixed else 4)  # autocast keeps norms and residuals in fp32


def positions_at_once(model: PreTrainedModel, is_mixed: bool) -> int:
    """Return how many positions' activations fit into the room that there is for one pass."""
    return ROOM[on_gpu()] // bytes_of_position(model, is_mixed)


class Recompute:
    """Switches a model between both ways, part by part. `positions` is how many may go through it in the plain one under `auto`."""

    def __init__(self, model: PreTrainedModel, mode: str, positions: int) -> None:
        self.mode = mode if model.supports_gradient_checkpointing else NEVER
        self.positions = positions
        self.switches: list[Any] = []
        if self.mode != NEVER:
            model.activation_checkpointing_enable({"use_reentrant": False})
            self.switches = [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]
            self.set(False)

    def before(self, positions: int) -> None:
        """Choose the way for a part of so many positions."""
        if self.mode != NEVER:
            self.set(self.mode == ALWAYS or positions > self.positions)

    def set(self, is_on: bool) -> None:
        """Compute activations again in the backward pass from now on, or keep them."""
        for module in self.switches:
            module.gradient_checkpointing = is_on
