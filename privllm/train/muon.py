"""Muon for the matrices inside the blocks, AdamW for all else, as one optimiser with one learning rate.

From scratch, vectors of tokens also learn from tokens that are spelled alike (`spelling_parts`), by an AdamW whose steps are damped.

Muon (Jordan 2024, kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by its nearest
semi-orthogonal matrix, found by a polynomial iteration; scaled by 0.2 * sqrt(longer side) the step has AdamW's
size, so both share the learning rate (Liu et al. 2025, "Muon is scalable", arXiv 2502.16982). The iteration runs
in bf16 on a GPU, as in `torch.optim.Muon`, and in fp32 on a CPU: those without bf16 units emulate it about twenty times slower.
Of parameters that are cut (`sharding`) a process keeps states and updates of its own rows, but the states of parts of spelling whole;
the matrices are put together a few at a time for the iteration. It knows no schedule: whoever trains writes `lr` into the groups before
every step.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from privllm.train.parallel import add_up
from privllm.train.sharding import cut_like, rows_of_group, share, taken_over, zeros_like
from privllm.train.spelling_parts import SpellingParts

# One odd polynomial a x + b x^3 + c x^5 for each iteration: of all pairs of such polynomials, those whose composition is
# nearest to 1 for singular values in [0.05, 1] (Amsel et al. 2025, Polar Express, arXiv 2505.16932). It is off by 0.22 at most.
COEFFICIENTS = ((6.7524, -18.3510, 13.2633), (2.5379, -1.8747, 0.4413))
BETA1, BETA2, EPSILON = 0.9, 0.95, 1e-8  # of AdamW
MOMENTUM = 0.95  # of Muon
SPELLED = "spelled_"  # before the states of parts of spelling, which every process has whole
ITERATED_IN = {"cuda": torch.bfloat16}  # by device; elsewhere as the matrices are
PUT_TOGETHER = 1 << 26  # numbers of matrices that are cut, at once


class Muon(torch.optim.Optimizer):
    """One optimiser over groups that say `muon: True` (2-D parameters) or `muon: False` (any shape).

    A muon group may hold `blocks`, (rows, 1) or (1, columns): each parameter is orthogonalised in that many parts, such as
    the heads of an attention projection, which must divide its side. The parameters of a group that says `tokens: True` have a
    row for each token, of which those with the same parts of `spelling` learn from each other; `damping` makes small those of their steps
    whose gradients are small.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        spelling: SpellingParts | None = None,
    ) -> None:
        # `fused` tells torch where a state that is loaded keeps its step counts
        defaults = {"muon": False, "blocks": (1, 1), "tokens": False, "damping": 0.0, "fused": True}
        super().__init__(list(groups), {"lr": lr, "weight_decay": weight_decay, **defaults})
        self.spelling = spelling
        for group in self.param_groups:
            if group["muon"]:
                assert all(p.ndim == 2 for p in group["params"]), "Muon takes matrices only"
                in_rows, in_columns = group["blocks"]
                assert 1 in (in_rows, in_columns), "parts are of rows or of columns"
                sides = [(p.shape[0] % in_rows, p.shape[1] % in_columns) for p in group["params"]]
                assert not any(map(any, sides)), f"{group['blocks']} parts do not divide a matrix"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, of which a process keeps its own rows where its parameters are cut."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            own = {name: value for name, value in state.items() if not name.startswith(SPELLED)}
            state.update({name: taken_over(value, parameter) for name, value in own.items()})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; those without one are left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["tokens"]:
                self._tokens(group)
            elif not group["muon"]:
                self._adamw(group)
        self._muon([group for group in self.param_groups if group["muon"]])
        return loss

    def _adamw(self, group: dict[str, Any]) -> None:
        """Update one group by AdamW (Loshchilov & Hutter 2019), with Adam's bias correction, in torch's one pass over memory."""
        params = _learning(group)
        for p in params:
            if not self.state[p]:
                step = torch.zeros((), dtype=torch.float32, device=p.device)
                self.state[p].update(step=step, mean=zeros_like(p), square=zeros_like(p))
        states = [self.state[p] for p in params]
        adamw(
            [share(p) for p in params],
            [share(_gradient(p)) for p in params],
            [share(state["mean"]) for state in states],
            [share(state["square"]) for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=EPSILON,
            maximize=False,
        )

    def _tokens(self, group: dict[str, Any]) -> None:
        """Update vectors of tokens: each by what it learns itself, and by what the parts of its spelling learn from all that have them."""
        assert self.spelling is not None, "tokens are told apart by their spelling"
        kept = 1 - group["lr"] * group["weight_decay"]
        for p in _learning(group):
            gradient = _gradient(p)
            rows, whole = slice(None), gradient
            if isinstance(gradient, DTensor):
                rows, whole = slice(*rows_of_group(len(p))), gradient.full_tensor()
            of_parts = self.spelling.gathered(whole)
            moved = self.spelling.spread(self._damped(p, SPELLED, of_parts, group["damping"]))[rows]
            moved += self._damped(p, "", share(gradient), group["damping"])
            share(p).mul_(kept).add_(moved, alpha=-group["lr"])

    def _damped(self, p: Tensor, prefix: str, gradient: Tensor, damping: float) -> Tensor:
        """Return what AdamW subtracts per unit of learning rate, but less of rows whose gradients are small beside those of all.

        Adam takes steps of one size, however small the gradients: of a token that is hardly seen they are noise. So a row is divided by
        the root of its own second moment and `damping` times the mean of all, between Adam and Coupled Adam (Stollenwerk & Stollenwerk
        2025, arXiv 2502.08441). States are those of `p` whose names begin with `prefix`.
        """
        state = self.state[p]
        # of steps; torch would turn a "step" into a tensor where a state is loaded
        count, mean, square = (f"{prefix}{name}" for name in ("count", "mean", "square"))
        if count not in state:
            zeros = {name: torch.zeros_like(gradient) if prefix else zeros_like(p) for name in (mean, square)}
            state.update({count: 0, **zeros})
        state[count] += 1
        first, second = share(state[mean]), share(state[square])
        first.lerp_(gradient, 1 - BETA1)
        second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        if isinstance(state[square], DTensor):  # of which the others have rows too
            common = second.sum(0)
            add_up([common])
            common /= len(p)
        else:
            common = second.mean(0)
        root = torch.add(second, common, alpha=damping).sqrt_().add_(EPSILON)
        bias = (1 - BETA2 ** state[count]) ** 0.5 / (1 - BETA1 ** state[count])
        return torch.div(first, root, out=root).mul_(bias)

    def _muon(self, groups: list[dict[str, Any]]) -> None:
        """Update all groups: blocks of equal shape go through the iteration as one batch, whichever parameter they are of."""
        whole: list[_Matrix] = []
        cut: list[_Matrix] = []
        for group in groups:
            for p in _learning(group):
                if not isinstance(p, DTensor):
                    whole.append(_Matrix(self._momentum(p), p, group))
                    continue
                momentum = cut_like(self._momentum(p), p).full_tensor()
                cut.append(_Matrix(momentum, torch.zeros_like(momentum), group, p))
                if sum(matrix.update.numel() for matrix in cut) >= PUT_TOGETHER:
                    _update_rows(cut)
                    cut = []
        _update(whole)
        _update_rows(cut)

    def _momentum(self, p: Tensor) -> Tensor:
        """Return the Nesterov momentum of the gradient: [rows, columns] of this process, not to be written to."""
        state = self.state[p]
        if not state:
            state["momentum"] = zeros_like(p)
        gradient, momentum = share(_gradient(p)), share(state["momentum"])
        momentum.lerp_(gradient, 1 - MOMENTUM)
        return torch.lerp(gradient, momentum, MOMENTUM)


class _Matrix(NamedTuple):
    """A matrix: its momentum, what is changed, its group, and the parameter that it is of where only rows of that are here."""

    update: Tensor
    target: Tensor
    group: dict[str, Any]
    cut: DTensor | None = None


def _update_rows(matrices: list[_Matrix]) -> None:
    """Find the whole changes of matrices that are cut, and change this process's rows."""
    _update(matrices)
    for matrix in matrices:
        assert matrix.cut is not None
        rows = share(matrix.cut)
        begin, end = rows_of_group(len(matrix.target))
        rows.mul_(1 - matrix.group["lr"] * matrix.group["weight_decay"]).add_(matrix.target[begin:end])


def _update(matrices: list[_Matrix]) -> None:
    """Change the targets by the orthogonalised momentum and, where these are weights and not changes, the decay."""
    by_shape: dict[torch.Size, list[_Parts]] = {}
    for matrix in matrices:
        update, target = (_parts_of(tensor, matrix.group["blocks"]) for tensor in (matrix.update, matrix.target))
        if update.shape[1] > update.shape[2]:
            update, target = update.mT, target.mT
        parts = _Parts(update, target, matrix.group["lr"], matrix.group["weight_decay"])
        by_shape.setdefault(update.shape[1:], []).append(parts)
    for (_, columns), of_shape in by_shape.items():
        factors = left_factors([parts.update for parts in of_shape])
        counts = [len(parts.update) for parts in of_shape]
        for own, parts in zip(factors.split(counts), of_shape, strict=True):
            _move(own, parts, 0.2 * columns**0.5)


class _Parts(NamedTuple):
    """The parts of a matrix: their momentum, and a view of their weights, [parts, rows <= columns] each."""

    update: Tensor
    target: Tensor
    lr: float
    weight_decay: float


def _move(factors: Tensor, parts: _Parts, size: float) -> None:
    """Change the weights of a matrix by its momentum times the factors [parts, rows, rows], `size` times the learning rate."""
    kept, step = 1 - parts.lr * parts.weight_decay, -parts.lr * size
    if factors.dtype != parts.target.dtype:  # on a GPU, where each operation is a launch, so few large ones
        moved = factors @ parts.update.to(factors.dtype)
        parts.target.mul_(kept).add_(moved, alpha=step)
        return
    for factor, update, target in zip(factors, parts.update, parts.target, strict=True):
        target.addmm_(factor, update, beta=kept, alpha=step)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return for [rows <= columns] a matrix with the same singular vectors and singular values near 1."""
    factor = left_factors([matrix[None]])[0]
    return factor @ matrix.to(factor.dtype)


def left_factors(matrices: list[Tensor]) -> Tensor:
    """Return for matrices X of one shape, [any number, rows <= columns] in each of the list, the Q that makes Q X orthogonal, or nearly so.

    They are [all of them, rows, rows]. An odd polynomial of X is an even one of the Gram matrix G = X X^T, times X. So all iterations
    act on G, which is never larger than X; of products with the long side only G and Q X are left, where an iteration on X takes two
    each time.

    The start is divided by the square root of the Gram matrix's Frobenius norm, an upper bound of the largest
    singular value that is up to rows**0.25 times tighter than the usual Frobenius norm of the matrix itself.
    """
    rows = matrices[0].shape[1]
    counts = [len(some) for some in matrices]
    dtype = ITERATED_IN.get(matrices[0].device.type, matrices[0].dtype)
    gram = matrices[0].new_empty(sum(counts), rows, rows, dtype=dtype)
    for some, its_gram in zip(matrices, gram.split(counts), strict=True):
        reduced = some.to(dtype)
        torch.bmm(reduced, reduced.mT, out=its_gram)
    bound = torch.linalg.matrix_norm(gram, keepdim=True).clamp_min_(1e-30)
    gram = gram / bound
    whole = _even_part(gram, COEFFICIENTS[0])
    step = whole
    for coefficients in COEFFICIENTS[1:]:
        gram = step @ gram @ step
        step = _even_part(gram, coefficients)
        whole = step @ whole
    return whole / bound.sqrt()


def _even_part(gram: Tensor, coefficients: tuple[float, float, float]) -> Tensor:
    """Return a I + b G + c G^2: what the odd polynomial multiplies X by."""
    a, b, c = coefficients
    even = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    even.diagonal(dim1=-2, dim2=-1).add_(a)
    return even


def _learning(group: dict[str, Any]) -> list[Tensor]:
    """Return the group's parameters that have a gradient."""
    return [p for p in group["params"] if p.grad is not None]


def _gradient(p: Tensor) -> Tensor:
    assert p.grad is not None
    return p.grad


def _parts_of(matrix: Tensor, blocks: tuple[int, int]) -> Tensor:
    """Return a view of a matrix's row blocks, or of its column blocks: [blocks, rows, columns]."""
    in_rows, in_columns = blocks
    if in_rows > 1:
        return matrix.unflatten(0, (in_rows, -1))
    return matrix.unflatten(1, (in_columns, -1)).transpose(0, 1)
