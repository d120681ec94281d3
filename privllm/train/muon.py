"""Muon for the matrices inside the blocks, AdamW for all else, as one optimiser with one learning rate.

Muon (Jordan 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by its nearest
semi-orthogonal matrix, found by Newton-Schulz iteration; scaled by 0.2 * sqrt(longer side) the step has AdamW's
size, so both share the learning rate (Liu et al. 2025, "Muon is scalable", arXiv 2502.16982). The iteration runs
in fp32, not in bf16 as in `torch.optim.Muon`: CPUs without bf16 units emulate it about twenty times slower.
It knows no schedule: whoever trains writes `lr` into the groups before every step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan 2024: singular values go to about [0.7, 1.2], fast
ITERATIONS = 3  # Jordan takes 5; our start is scaled better (see `orthogonalise`), and 4 gave the same held-out loss
BETA1, BETA2, EPSILON = 0.9, 0.95, 1e-8  # of AdamW
MOMENTUM = 0.95  # of Muon


class Muon(torch.optim.Optimizer):
    """One optimiser over groups that say `muon: True` (2-D parameters) or `muon: False` (any shape).

    A muon group may hold `blocks` (rows, columns): each parameter is orthogonalised in that many parts, such as
    the heads of an attention projection.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "muon": False, "blocks": (1, 1)}
        super().__init__(list(groups), defaults)
        for group in self.param_groups:
            if group["muon"]:
                assert all(p.ndim == 2 for p in group["params"]), "Muon takes matrices only"

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; those without one are left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if not group["muon"]:
                self._adamw(group)
        self._muon([group for group in self.param_groups if group["muon"]])
        return loss

    def _adamw(self, group: dict[str, Any]) -> None:
        """Update one group by AdamW (Loshchilov & Hutter 2019), with Adam's bias correction."""
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
            state["step"] += 1
            state["mean"].lerp_(p.grad, 1 - BETA1)
            state["square"].mul_(BETA2).addcmul_(p.grad, p.grad, value=1 - BETA2)
            p.mul_(1 - group["lr"] * group["weight_decay"])
            mean_bias = 1 - BETA1 ** state["step"]
            square_bias = 1 - BETA2 ** state["step"]
            deviation = (state["square"] / square_bias).sqrt_().add_(EPSILON)
            p.addcdiv_(state["mean"], deviation, value=-group["lr"] / mean_bias)

    def _muon(self, groups: list[dict[str, Any]]) -> None:
        """Update all groups: blocks of equal shape go through Newton-Schulz as one batch, whichever parameter they are of."""
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor, float]]] = {}
        for group in groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._momentum(p)
                updates = _blocks_of(update, group["blocks"])
                targets = _blocks_of(p, group["blocks"])
                for block, target in zip(updates, targets, strict=True):
                    if block.shape[0] > block.shape[1]:
                        block, target = block.T, target.T
                    shape = (block.shape[0], block.shape[1])
                    by_shape.setdefault(shape, []).append((block, target, group["lr"]))
        for (_, columns), entries in by_shape.items():
            blocks = torch.stack([block for block, _, _ in entries])
            steps = orthogonalise(blocks)
            for step, (_, target, lr) in zip(steps, entries, strict=True):
                target.add_(step, alpha=-lr * 0.2 * columns**0.5)

    def _momentum(self, p: Tensor) -> Tensor:
        """Return the Nesterov momentum of the gradient: [rows, columns], not to be written to."""
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].lerp_(p.grad, 1 - MOMENTUM)
        return torch.lerp(p.grad, state["momentum"], MOMENTUM)


def orthogonalise(matrices: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Return for each of [N, rows <= columns] a matrix with the same singular vectors and singular values near 1.

    The start is divided by the square root of the Gram matrix's Frobenius norm, an upper bound of the largest
    singular value that is up to rows**0.25 times tighter than the usual Frobenius norm of the matrix itself.
    """
    a, b, c = COEFFICIENTS
    x = matrices
    for i in range(iterations):
        gram = x @ x.mT
        if i == 0:
            bound = torch.linalg.matrix_norm(gram, keepdim=True).clamp_min(1e-30)
            x, gram = x / bound.sqrt(), gram / bound
        mixed = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, mixed, x, beta=a, alpha=1.0)
    return x


def _blocks_of(matrix: Tensor, blocks: tuple[int, int]) -> list[Tensor]:
    """Return views of the matrix's row and column blocks, row by row."""
    views: list[Tensor] = []
    for band in matrix.chunk(blocks[0], 0):
        views += band.chunk(blocks[1], 1)
    return views
