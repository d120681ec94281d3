"""Weights in bf16 and NF4: what is small, what learns as before, and that an ordinary model comes back with the same numbers."""

import pytest
import torch

from privllm.core.special_tokens import own_ids
from privllm.models.blocks import blocks
from privllm.models.causal import CausalConfig
from privllm.models.loading import build
from privllm.models.small_weights import BLOCK, Nf4Linear, grown, pack, shrink, unpack
from privllm.train.adapter_config import AdapterConfig
from privllm.train.lora import adapt, merge


def adapted() -> tuple:
    model = build("causal", CausalConfig(layers=2, width=32, heads=2), own_ids(64), 16, 0)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return model, adapt(model, AdapterConfig(rank=2), 0)


@pytest.mark.parametrize("shape", [(3, 5), (8, 64), (7, 130)])
def test_four_bits_keep_a_weight_within_a_seventh_of_the_largest_near_it(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    codes, scales = pack(weight)
    assert codes.numel() * 2 == -(-weight.numel() // BLOCK) * BLOCK
    back = unpack(codes, scales, shape, torch.float32)
    largest = scales.repeat_interleave(BLOCK)[: weight.numel()].view(shape)
    assert ((back - weight).abs() <= 0.1525 * largest).all()
    again = pack(back)
    assert again[0].equal(codes)
    assert unpack(*again, shape, torch.float32).equal(back), "what was packed once stays as it is"


def test_a_packed_layer_multiplies_and_passes_gradients_on_as_its_unpacked_one_does() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(70, 9).requires_grad_(False)
    packed = Nf4Linear(layer)
    plain = packed.unpacked()
    inputs = torch.randn(2, 4, 70)
    of_packed, of_plain = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    packed(of_packed).square().sum().backward()
    plain(of_plain).square().sum().backward()
    assert packed(inputs).allclose(plain(inputs), atol=1e-6)
    torch.testing.assert_close(of_packed.grad, of_plain.grad, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert packed(inputs).dtype == torch.bfloat16


def test_the_weight_is_not_kept_for_the_backward_pass() -> None:
    packed = Nf4Linear(torch.nn.Linear(512, 512, bias=False).requires_grad_(False))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        packed(torch.randn(1, 512, requires_grad=True)).sum()
    assert sum(kept) < 512 * 512 * 0.6


def test_adapters_learn_beside_four_bits_and_what_is_merged_is_what_was_measured() -> None:
    model, wrapped = adapted()
    shrink(model, "nf4")
    packed = [module for module in model.modules() if isinstance(module, Nf4Linear)]
    assert len(packed) == 7 * len(blocks(model))
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16), name
        if parameter.requires_grad:
            parameter.data.add_(0.02)
    ids = torch.arange(12)[None]
    before = model(input_ids=ids).logits
    before.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    grown(model)
    merged = merge(wrapped)
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.float32}
    assert not any(isinstance(module, Nf4Linear) for module in merged.modules())
    torch.testing.assert_close(merged(input_ids=ids).logits, before.float(), rtol=0.05, atol=0.02)


def test_bf16_is_half_and_leaves_adapters_alone() -> None:
    model, _ = adapted()
    shrink(model, "bf16")
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    plain = build("causal", CausalConfig(layers=1, width=32, heads=2), own_ids(64), 16, 0)
    shrink(plain, "bf16")
    assert {p.dtype for p in plain.parameters()} == {torch.bfloat16}
    shrink(plain, "32")
    assert {p.dtype for p in plain.parameters()} == {torch.bfloat16}, "32 leaves a model as it is"
