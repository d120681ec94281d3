import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from privllm.core.special_tokens import own_ids
from privllm.models.causal import CausalConfig, build_causal, next_token_loss
from privllm.models.lean_blocks import lean_blocks, rms_norm, rotate
from privllm.models.vocabulary import IGNORED

VOCABULARY, CONTEXT = 64, 12


def model_of(kv_heads: int = 0) -> torch.nn.Module:
    """With noise everywhere, since matrices that begin as zero would hide what comes before them."""
    model = build_causal(CausalConfig(layers=2, width=32, heads=4, kv_heads=kv_heads), own_ids(VOCABULARY), CONTEXT, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.train()


def batch_of(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, the second of two documents."""
    tokens = torch.randint(0, VOCABULARY, (rows, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    labels = tokens[:, 1:].clone()
    labels[0, :5] = IGNORED
    positions = torch.arange(CONTEXT).repeat(rows, 1)
    positions[1, 7:] -= 7
    return tokens[:, :-1], positions, labels


def learnt(model, reduction) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = next_token_loss(model, batch_of(), reduction)
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kv_heads", [0, 2])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_gradients_are_those_of_stock_transformers(kv_heads, reduction):
    model = model_of(kv_heads)
    loss, gradients = learnt(model, reduction)
    with lean_blocks(model):
        lean_loss, lean_gradients = learnt(model, reduction)
    assert torch.allclose(lean_loss, loss, rtol=1e-6)
    for name, gradient in gradients.items():
        assert torch.allclose(lean_gradients[name], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max())), name


def test_positions_and_masks_count_as_they_do_in_stock():
    model = model_of().eval()
    inputs, _, _ = batch_of()
    positions = torch.arange(CONTEXT).remainder(5).expand(3, -1)
    attended = torch.ones(3, CONTEXT)
    attended[1, 8:] = 0
    for options in ({"position_ids": positions}, {"attention_mask": attended}):
        with torch.no_grad():
            expected = model(input_ids=inputs, **options).logits
            with lean_blocks(model):
                found = model(input_ids=inputs, **options).logits
        assert torch.allclose(found, expected, atol=1e-5)


def test_derivatives_are_those_of_finite_differences():
    def double(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    angles = torch.rand(1, 3, 1, 2, dtype=torch.float64).repeat(1, 1, 1, 2)
    heads = double(2, 3, 2, 4)
    assert torch.autograd.gradcheck(lambda x: rotate(x, angles.cos(), angles.sin()), (heads,))
    # the norm computes in fp32, so its differences are coarse
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-6), (double(5, 4), double(4)), eps=1e-2, atol=1e-2)


def is_stock(model) -> bool:
    return not any("forward" in vars(module) for module in model.modules())


def test_a_model_is_stock_again_afterwards_whatever_happens():
    model = model_of()
    names = list(model.state_dict())

    def fail_inside():
        with lean_blocks(model):
            assert not is_stock(model)
            assert list(model.state_dict()) == names
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert is_stock(model)


def test_other_architectures_and_compiled_blocks_are_left_alone():
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    compiled = model_of()
    compiled.model.layers[0].compile()
    for model in (LlamaForCausalLM(config), compiled):
        with lean_blocks(model):
            assert is_stock(model)
