import pytest
import torch
from transformers import DynamicCache

from privllm.core.special_tokens import own_ids
from privllm.models.attention import FUSED_CAUSAL
from privllm.models.causal import CausalConfig, build_causal


def shaken_model(kv_heads: int = 0):
    """A small model none of whose matrices is zero any more."""
    model = build_causal(
        CausalConfig(layers=2, width=32, heads=4, kv_heads=kv_heads), ids=own_ids(40), context=32, seed=0
    ).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(2, 40, (3, 20), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kv_heads", [0, 1, 2])
@pytest.mark.parametrize("stock", ["eager", "sdpa"])
@torch.no_grad()
def test_logits_equal_those_of_transformers_own_attention(ids, stock, kv_heads):
    model = shaken_model(kv_heads)
    ours = model(input_ids=ids).logits
    model.set_attn_implementation(stock)
    assert torch.allclose(ours, model(input_ids=ids).logits, atol=1e-5)


@torch.no_grad()
def test_padding_mask_is_respected(ids):
    model = shaken_model()
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    ours = model(input_ids=ids, attention_mask=mask).logits
    model.set_attn_implementation("eager")
    assert torch.allclose(ours[0, 7:], model(input_ids=ids, attention_mask=mask).logits[0, 7:], atol=1e-5)
    assert not torch.allclose(ours[0, 7:], model(input_ids=ids).logits[0, 7:], atol=1e-3)


@pytest.mark.parametrize("cuts", [[20], [1] * 20, [5, 1, 7, 7]])
@torch.no_grad()
def test_a_cache_filled_in_pieces_gives_the_logits_of_one_pass(ids, cuts):
    model = shaken_model(kv_heads=2)
    cache, pieces, start = DynamicCache(config=model.config), [], 0
    for length in cuts:
        pieces.append(model(input_ids=ids[:, start : start + length], past_key_values=cache, use_cache=True).logits)
        start += length
    assert torch.allclose(torch.cat(pieces, 1), model(input_ids=ids).logits, atol=1e-5)


@torch.no_grad()
def test_later_tokens_do_not_reach_back(ids):
    model = shaken_model()
    changed = ids.clone()
    changed[:, 10:] = 5
    assert torch.equal(model(input_ids=ids).logits[:, :10], model(input_ids=changed).logits[:, :10])


@pytest.mark.slow
@torch.no_grad()
def test_no_mask_is_built_while_tracing(ids):
    """transformers #48925: its "sdpa" hands a 4-D mask to the kernel as soon as the model is compiled."""
    seen = []

    def record(graph, example_inputs):
        seen.extend(
            node.kwargs.get("attn_mask") for node in graph.graph.nodes if "scaled_dot_product" in str(node.target)
        )
        return graph.forward

    model = shaken_model()
    assert model.config._attn_implementation == FUSED_CAUSAL
    torch.compile(model.model, backend=record)(input_ids=ids, use_cache=False)
    assert seen == [None, None]
