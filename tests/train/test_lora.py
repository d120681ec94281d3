"""Adapters learn while the weights beside them stay; merged, the model says what it said with them."""

import pytest
import torch

from privllm.core.errors import UserError
from privllm.core.special_tokens import own_ids
from privllm.models.blocks import blocks, projections
from privllm.models.loading import build
from privllm.train.adapter_config import AdapterConfig
from privllm.train.lora import adapt, merge
from tests.foreign import ARCHITECTURES, random_model
from tests.train.tiny_tasks import MODELS


@pytest.mark.parametrize("family", MODELS)
def test_merging_keeps_what_was_learnt(family: str) -> None:
    model = build(family, MODELS[family], own_ids(64), 24, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrapped = adapt(model, AdapterConfig(rank=3), seed=0)
    learnt = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learnt
    assert all("lora_" in name for name in learnt)
    generator = torch.Generator().manual_seed(0)
    for parameter in learnt.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    ids = torch.arange(6, 16)[None]
    asked = {"input_ids": ids, **({"labels": ids} if family == "seq2seq" else {})}
    with torch.no_grad():
        adapted = model.eval()(**asked).logits
        merged = merge(wrapped)
        assert merged(**asked).logits.allclose(adapted, atol=1e-5)
    after = merged.state_dict()
    assert set(after) == set(before)
    assert not adapted.allclose(
        build(family, MODELS[family], own_ids(64), 24, seed=0).eval()(**asked).logits, atol=1e-3
    )


def test_adapters_are_functions_of_the_seed() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        model = build("causal", MODELS["causal"], own_ids(64), 24, seed=0)
        adapt(model, AdapterConfig(rank=2), seed)
        return [p for name, p in model.named_parameters() if "lora_A" in name]

    assert all(a.equal(b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not weights(1)[0].equal(weights(2)[0])


@pytest.mark.parametrize("wrong", [{"rank": -1}, {"alpha": 0}, {"dropout": 1.0}])
def test_wrong_parameters_are_explained(wrong: dict) -> None:
    with pytest.raises(UserError, match=r"lora\."):
        AdapterConfig(**wrong)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_adapters_of_other_peoples_architectures_are_where_the_matrices_are(kind: str) -> None:
    model = random_model(kind)
    expected = [len(projections(block)) for block in blocks(model)]
    wrapped = adapt(model, AdapterConfig(rank=2), seed=0)
    assert sum(1 for name, _ in model.named_parameters() if "lora_A" in name) == sum(expected) > 0
    assert set(merge(wrapped).state_dict()) == set(random_model(kind).state_dict())


def test_a_model_in_which_no_adapter_fits_is_refused_by_name() -> None:
    model = random_model("llama")
    model.model.layers = torch.nn.ModuleList(torch.nn.LayerNorm(2) for _ in range(3))
    with pytest.raises(UserError, match="a llama model has no matrices that adapters fit"):
        adapt(model, AdapterConfig(rank=2), seed=0)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_new_tokens_learn_and_no_others(kind: str, tied: bool) -> None:
    model = random_model(kind, tie_word_embeddings=tied)
    ids = torch.tensor([[3, 6, 5, 4, 8, 7]])
    before = [
        matrix.weight.detach().clone() for matrix in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    wrapped = adapt(model, AdapterConfig(rank=2), seed=0, new_tokens=[3, 4, 5])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    with torch.no_grad():
        adapted = model.eval()(input_ids=ids).logits
        merged = merge(wrapped)
        assert merged(input_ids=ids).logits.allclose(adapted, atol=1e-5)
    after = [merged.get_input_embeddings().weight, merged.get_output_embeddings().weight]
    for old, new in zip(before, after, strict=True):
        changed = (old != new).any(1).nonzero().flatten().tolist()
        assert changed == [3, 4, 5]
    assert (after[0] is after[1]) is tied
    assert set(merged.state_dict()) == set(random_model(kind).state_dict())
