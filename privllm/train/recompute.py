"""Activation checkpointing: what a block computes inside is not kept for the backward pass but computed again there.

It takes a third more time and, of each block, the memory of its input alone (Chen et al. 2016, arXiv 1604.06174). Gradients are the
same bits on a CPU: the same operations run on the same numbers, dropout included. So it is in no key, and where it is left to
`auto` the parts of a step decide one by one: those whose activations are beyond what `activations` allows for are computed again.
"""

from typing import Any

from transformers import PreTrainedModel

from privllm.models.devices import on_gpu
from privllm.train.memory_need import ROOM, bytes_of_position, shape_of

AUTO, ALWAYS, NEVER = "auto", "always", "never"


def positions_at_once(model: PreTrainedModel, is_mixed: bool) -> int:
    """Return how many positions' activations fit into the room that there is for one pass."""
    shape = shape_of(model.config.to_dict())
    if shape is None:
        return 0  # of a model that does not say how large it is nothing is known
    return ROOM[on_gpu()] // bytes_of_position(shape, is_mixed)


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
            self.set(self.mode == ALWAYS or 0 < self.positions < positions)

    def set(self, is_on: bool) -> None:
        """Compute activations again in the backward pass from now on, or keep them."""
        for module in self.switches:
            module.gradient_checkpointing = is_on
