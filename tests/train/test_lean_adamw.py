"""AdamW in few bits: near the plain one where both can be compared, right on average in bf16, the same bytes after a load."""

import copy

import pytest
import torch
from torch import Tensor

from privllm.train import lean_adamw
from privllm.train.lean_adamw import BLOCK, LeanAdamW, pack, rounded_at_random, table, unpack
from privllm.train.muon import BETA1, BETA2, EPSILON


@pytest.mark.parametrize("signed", [True, False])
def test_the_table_has_a_code_for_each_byte_ascending_and_a_zero(signed: bool) -> None:
    numbers = table(signed)
    assert len(set(numbers)) == 256
    assert list(numbers) == sorted(numbers)
    assert numbers[-1] == 1
    assert 0.0 in numbers
    assert (numbers[0] == -1) == signed


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_what_is_packed_comes_back_nearly(signed: bool, size: int) -> None:
    """The largest number of each block exactly, others within 4 % of themselves or 1e-6 of the largest."""
    values = torch.randn(2, size, generator=torch.Generator().manual_seed(size))
    values = values if signed else values.abs()
    codes, scales = pack(values, signed)
    back = unpack(codes, scales, signed)
    assert codes.dtype == torch.uint8
    assert scales.shape == (2, -(-size // BLOCK))
    largest = scales.repeat_interleave(BLOCK, 1)[:, :size]
    assert back[values.abs() == largest].equal(values[values.abs() == largest])
    assert ((back - values).abs() <= 0.09 * values.abs() + 0.004 * largest).all()


def test_rows_have_blocks_of_their_own_so_that_a_share_of_them_is_packed_alike() -> None:
    values = torch.randn(5, 2 * BLOCK + 7, generator=torch.Generator().manual_seed(0))
    codes, scales = pack(values, True)
    codes_of_two, scales_of_two = pack(values[3:], True)
    assert codes[3:].equal(codes_of_two)
    assert scales[3:].equal(scales_of_two)


def test_rounding_at_random_keeps_the_mean_and_takes_neighbours_alone() -> None:
    for value in (1.001, -1.001, 3e-5):
        rounded = rounded_at_random(torch.full((200_000,), value), torch.Generator().manual_seed(0)).float()
        assert len(rounded.unique()) == 2
        assert rounded.mean().item() == pytest.approx(value, rel=2e-4)
        assert (rounded.unique() - value).abs().max() < abs(value) / 128
    exact = torch.tensor([1.5, -2.0, 0.0])
    assert rounded_at_random(exact, torch.Generator()).float().equal(exact)


def descend(dtype: torch.dtype, optimizer: type, steps: int = 200, **more: object) -> Tensor:
    """Weights that are drawn to a target, from zero."""
    target = torch.linspace(-1, 1, 700)
    weights = torch.nn.Parameter(torch.zeros(700, dtype=dtype))
    descent = optimizer([{"params": [weights], "weight_decay": 0.0}], lr=0.01, **more)
    for _ in range(steps):
        weights.grad = (weights.detach().float() - target).to(dtype)
        descent.step()
    return weights.detach().float() - target


def test_it_descends_as_plain_adamw_does() -> None:
    plain = descend(torch.float32, torch.optim.AdamW, betas=(BETA1, BETA2), eps=EPSILON)
    lean = descend(torch.float32, LeanAdamW)
    assert lean.square().mean().sqrt() < plain.square().mean().sqrt() + 0.02
    in_bf16 = descend(torch.bfloat16, LeanAdamW)
    assert in_bf16.square().mean().sqrt() < plain.square().mean().sqrt() + 0.02


@pytest.mark.slow
def test_updates_below_the_last_bit_are_not_lost() -> None:
    """Two hundred steps of 5e-5 from 1, whose neighbours in bf16 are 0.004 away."""
    weights = torch.nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    descent = LeanAdamW([{"params": [weights], "weight_decay": 0.0}], lr=5e-5)
    for _ in range(200):
        weights.grad = torch.ones_like(weights)
        descent.step()
    assert weights.float().mean().item() == pytest.approx(1 - 0.01, abs=5e-4)


def test_weight_decay_shrinks() -> None:
    weights = torch.nn.Parameter(torch.ones(10))
    descent = LeanAdamW([{"params": [weights], "weight_decay": 0.5}], lr=0.1)
    weights.grad = torch.zeros_like(weights)
    descent.step()
    assert weights.detach().allclose(torch.full((10,), 0.95))


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = descend(torch.float32, LeanAdamW, steps=5)
    monkeypatch.setattr(lean_adamw, "PIECE", BLOCK)
    assert descend(torch.float32, LeanAdamW, steps=5).equal(whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_that_is_loaded_goes_on_with_the_same_bytes(dtype: torch.dtype) -> None:
    def step(weights: torch.nn.Parameter, descent: LeanAdamW, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        weights.grad = torch.randn(weights.shape, generator=generator).to(dtype)
        descent.step()

    def fresh() -> tuple[torch.nn.Parameter, LeanAdamW]:
        weights = torch.nn.Parameter(torch.ones(30, 20, dtype=dtype))
        return weights, LeanAdamW([{"params": [weights], "weight_decay": 0.1}], lr=0.01)

    whole, descent = fresh()
    for number in range(6):
        step(whole, descent, number)
        if number == 2:
            saved = copy.deepcopy(descent.state_dict()["state"][0])
            weights_then = whole.detach().clone()
    resumed, other = fresh()
    resumed.data.copy_(weights_then)
    other.load_state_dict({"state": {0: saved}, "param_groups": other.state_dict()["param_groups"]})
    assert other.state[resumed]["mean"].dtype == torch.uint8
    for number in range(3, 6):
        step(resumed, other, number)
    assert resumed.equal(whole)


def test_it_takes_two_bytes_of_state_a_weight() -> None:
    weights = torch.nn.Parameter(torch.ones(1000, 256))
    descent = LeanAdamW([{"params": [weights], "weight_decay": 0.0}], lr=0.01)
    weights.grad = torch.ones_like(weights)
    descent.step()
    size = sum(value.nbytes for value in descent.state[weights].values() if isinstance(value, Tensor))
    assert size / weights.numel() < 2.04
