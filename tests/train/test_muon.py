import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from privllm.train import muon
from privllm.train.muon import COEFFICIENTS, Muon, left_factors, orthogonalise
from privllm.train.spelling_parts import SpellingParts


def spread_matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    """A random matrix with singular values from 0.3 to 3."""
    u, _, v = torch.linalg.svd(
        torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)), full_matrices=False
    )
    return u @ torch.diag(torch.linspace(3, 0.3, rows)) @ v


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 20), st.integers(0, 999), st.sampled_from([1e-6, 1.0, 1e4]))
def test_singular_values_go_near_one_and_vectors_stay(rows, more, seed, scale):
    matrix = spread_matrix(rows, rows + more, seed)
    # the slow oracle: U V^T is the nearest semi-orthogonal matrix
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    orthogonal = orthogonalise(scale * matrix)
    inner = u.T @ orthogonal @ v.T
    assert torch.all((inner.diag() > 0.6) & (inner.diag() < 1.25))
    assert torch.allclose(inner, torch.diag(inner.diag()), atol=2e-2)


def test_a_batch_is_its_matrices_one_by_one():
    matrices = [spread_matrix(6, 10, seed) for seed in range(4)]
    one_by_one = torch.stack([left_factors([matrix[None]])[0] for matrix in matrices])
    assert torch.allclose(left_factors([torch.stack(matrices)]), one_by_one, atol=1e-5)
    assert torch.allclose(left_factors([matrix[None] for matrix in matrices]), one_by_one, atol=1e-5)


def test_in_bf16_as_on_a_gpu_it_finds_nearly_the_same(monkeypatch):
    """Run on the CPU. Singular values from 0.1 of the largest on go near 1, and two steps move weights alike to 3 %."""
    moved = []
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setitem(muon.ITERATED_IN, "cpu", dtype)
        values = torch.linalg.svdvals(orthogonalise(spread_matrix(24, 40, 0)).float())
        assert 0.6 < values.min() < values.max() < 1.3
        weights = [torch.nn.Parameter(torch.zeros(16, 24)) for _ in range(3)]
        optimizer = Muon([{"params": weights, "muon": True, "blocks": (2, 1)}], lr=0.1)
        for step in range(2):
            for number, weight in enumerate(weights):
                weight.grad = spread_matrix(16, 24, 10 * step + number)
            optimizer.step()
        assert all(weight.dtype == torch.float32 for weight in weights)
        moved.append(torch.cat([weight.detach() for weight in weights]))
    assert (moved[1] - moved[0]).norm() < 0.03 * moved[0].norm()
    assert not moved[1].equal(moved[0])


class Operations(TorchDispatchMode):
    """Counts what torch is asked to compute; views are nothing on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += not operation.is_view
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("blocks", [(1, 8), (8, 1)])
def test_on_a_gpu_the_parts_of_a_matrix_are_no_launches_of_their_own(monkeypatch, blocks):
    """Run on the CPU, by the precision that a GPU iterates in."""
    monkeypatch.setitem(muon.ITERATED_IN, "cpu", torch.bfloat16)
    counts = []
    for in_parts in ((1, 1), blocks):
        weight = torch.nn.Parameter(torch.zeros(16, 24))
        weight.grad = spread_matrix(16, 24, 0)
        with Operations() as operations:
            Muon([{"params": [weight], "muon": True, "blocks": in_parts}], lr=0.1).step()
        counts.append(operations.count)
    assert counts[0] == counts[1]


def polynomials(matrix: torch.Tensor) -> torch.Tensor:
    """The slow way: the polynomials of the matrix itself, one after the other."""
    x = matrix / torch.linalg.matrix_norm(matrix @ matrix.T).sqrt()
    for a, b, c in COEFFICIENTS:
        x = a * x + b * (x @ x.T @ x) + c * (x @ x.T @ x @ x.T @ x)
    return x


@given(st.integers(1, 12), st.integers(0, 20), st.integers(0, 999))
def test_the_gram_matrix_is_a_short_cut_and_no_other_result(rows, more, seed):
    matrix = torch.randn(rows, rows + more, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(orthogonalise(matrix), polynomials(matrix.double()).float(), atol=1e-4)


def test_a_zero_gradient_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(4, 6))
    weight.grad = torch.zeros(4, 6)
    Muon([{"params": [weight], "muon": True}], lr=0.1).step()
    assert torch.equal(weight, torch.ones(4, 6))


def test_rest_is_torchs_own_adamw():
    ours, theirs = (torch.nn.Parameter(torch.arange(6.0)) for _ in range(2))
    optimisers = (
        Muon([{"params": [ours]}], lr=0.01, weight_decay=0.1),
        torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1),
    )
    for step in range(20):
        for parameter, optimiser in zip((ours, theirs), optimisers, strict=True):
            parameter.grad = torch.sin(torch.arange(6.0) * (step + 1))
            optimiser.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_first_step_of_a_tall_matrix_by_the_formula():
    gradient = spread_matrix(4, 9, 0).T.contiguous()
    weight = torch.nn.Parameter(torch.ones(9, 4))
    weight.grad = gradient.clone()
    Muon([{"params": [weight], "muon": True}], lr=0.1, weight_decay=0.5).step()
    expected = 0.95 - 0.1 * 0.2 * 9**0.5 * orthogonalise(gradient.T).T
    assert torch.allclose(weight.detach(), expected, atol=1e-5)


def test_blocks_are_orthogonalised_on_their_own():
    gradient = torch.cat([spread_matrix(3, 8, 0), 100 * spread_matrix(3, 8, 1)])
    whole, halves = torch.nn.Parameter(torch.zeros(6, 8)), [torch.nn.Parameter(torch.zeros(3, 8)) for _ in range(2)]
    whole.grad = gradient.clone()
    for half, part in zip(halves, gradient.chunk(2), strict=True):
        half.grad = part.clone()
    Muon([{"params": [whole], "muon": True, "blocks": (2, 1)}], lr=0.1).step()
    Muon([{"params": halves, "muon": True}], lr=0.1).step()
    assert torch.allclose(whole.detach(), torch.cat([half.detach() for half in halves]), atol=1e-6)


@pytest.mark.parametrize("blocks", [(3, 1), (1, 4), (2, 2)])
def test_parts_that_do_not_divide_a_matrix_are_refused_at_once(blocks):
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    with pytest.raises(AssertionError, match="parts"):
        Muon([{"params": [weight], "muon": True, "blocks": blocks}], lr=0.1)


def test_state_survives_a_round_trip():
    def train(optimiser, weight, bias, steps):
        for step in steps:
            weight.grad, bias.grad = torch.sin(weight.detach() + step), torch.cos(bias.detach() + step)
            optimiser.step()

    def fresh():
        weight, bias = torch.nn.Parameter(torch.ones(4, 6)), torch.nn.Parameter(torch.ones(5))
        return Muon([{"params": [weight], "muon": True}, {"params": [bias]}], lr=0.1), weight, bias

    unbroken, weight, bias = fresh()
    train(unbroken, weight, bias, range(6))
    first, weight1, bias1 = fresh()
    train(first, weight1, bias1, range(3))
    second, weight2, bias2 = fresh()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        weight2.copy_(weight1)
        bias2.copy_(bias1)
    train(second, weight2, bias2, range(3, 6))
    assert torch.equal(weight, weight2)
    assert torch.equal(bias, bias2)


SPELLING = SpellingParts(dict(enumerate([b"walk", b"walked", b" Walks", b"was", b"<|end|>"])), size=6, special=[4])


def of_tokens(weight: torch.nn.Parameter, damping: float = 4.0) -> Muon:
    group = {"params": [weight], "tokens": True, "damping": damping, "weight_decay": 0.5}
    return Muon([group], lr=0.05, spelling=SPELLING)


def table() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))


def move(optimiser: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: range) -> None:
    for step in steps:
        weight.grad = torch.sin(weight.detach() * 3 + step)
        optimiser.step()


def test_tokens_move_as_if_vectors_of_their_parts_were_added_to_their_own():
    """The oracle: a model that has those vectors, whose gradients are autograd's, under torch's own AdamW."""
    weight, own = table(), table()
    of_parts = torch.nn.Parameter(torch.zeros(SPELLING.count, 4))
    theirs = torch.optim.AdamW([own, of_parts], lr=0.05, betas=(0.9, 0.95), weight_decay=0.5)
    matrix = SPELLING.spread(torch.eye(SPELLING.count))
    ours = of_tokens(weight, damping=0.0)
    for step in range(8):
        whole = own + matrix @ of_parts
        assert torch.allclose(weight, whole, atol=1e-5)
        theirs.zero_grad()
        whole.backward(torch.sin(whole.detach() * 3 + step))
        theirs.step()
        move(ours, weight, range(step, step + 1))
    alone = table()
    move(torch.optim.AdamW([alone], lr=0.05, betas=(0.9, 0.95), weight_decay=0.5), alone, range(8))
    assert torch.allclose(weight[4:], alone[4:], atol=1e-5)  # they share nothing
    assert not torch.allclose(weight[:4], alone[:4], atol=0.01)


def damped(gradients: list[torch.Tensor]) -> torch.Tensor:
    """The slow oracle: what AdamW subtracts at the last of some steps, row by row, by the formula."""
    mean, square = torch.zeros_like(gradients[0]), torch.zeros_like(gradients[0])
    for gradient in gradients:
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.95 * square + 0.05 * gradient**2
    steps = len(gradients)
    mean, square = mean / (1 - 0.9**steps), square / (1 - 0.95**steps)
    return mean / (square + 4.0 * square.mean(0)).sqrt()


def test_rows_with_small_gradients_take_small_steps():
    """Of tokens and of parts alike, by the formula; row 4 is alone, and moves by its own small gradient."""
    weight = torch.nn.Parameter(torch.zeros(6, 4))
    optimiser = of_tokens(weight)
    gradients: list[torch.Tensor] = []
    for step in range(3):
        gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        gradient[4] *= 0.01
        gradients.append(gradient)
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        optimiser.step()
        of_parts = SPELLING.spread(damped([SPELLING.gathered(each) for each in gradients]))
        expected = before * (1 - 0.05 * 0.5) - 0.05 * (damped(gradients) + of_parts)
        assert torch.allclose(weight, expected, atol=1e-6)
        assert (weight[4] - before[4] * (1 - 0.05 * 0.5)).abs().max() < 0.05 * 0.02


def test_states_of_parts_survive_a_round_trip():
    unbroken, weight = table(), table()
    move(of_tokens(unbroken), unbroken, range(6))
    first = of_tokens(weight)
    move(first, weight, range(3))
    second = of_tokens(weight)
    second.load_state_dict(first.state_dict())
    move(second, weight, range(3, 6))
    assert torch.equal(weight, unbroken)
