"""Dropout that a class of transformers does not have: where it is, that it is gone from what is saved, and when it is off."""

from pathlib import Path

import pytest
import torch

from privllm.core.report import write_json
from privllm.core.special_tokens import own_ids
from privllm.models.loading import build
from privllm.train.adapter_config import AdapterConfig
from privllm.train.dropout import BRANCH_ENDS, add_dropout, drop_share, rate_of
from privllm.train.lora import adapt, merge
from tests.foreign import random_model
from tests.train.tiny_tasks import MODELS

RATE = 0.25
IDS = torch.randint(6, 60, (8, 24), generator=torch.Generator().manual_seed(0))


def outputs_of(model: torch.nn.Module, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """What the modules of these names put out for IDS in training mode, in their parents' eyes."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if name.endswith(names):
            handles.append(module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output})))
    torch.manual_seed(0)
    model.train()(input_ids=IDS)
    for handle in handles:
        handle.remove()
    return seen


def plain(kind: str = "llama") -> torch.nn.Module:
    model = random_model(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05)
    return model


def test_a_share_of_embeddings_and_of_both_branches_is_dropped_and_the_rest_scaled() -> None:
    names = ("embed_tokens", *BRANCH_ENDS)
    model = plain()
    add_dropout(model, "causal", RATE)
    found = outputs_of(model, names)
    assert len(found) == 1 + 2 * 3
    for name, output in found.items():
        assert float((output == 0).float().mean()) == pytest.approx(RATE, abs=0.03), name
    before = outputs_of(plain(), names)["model.embed_tokens"]
    kept = found["model.embed_tokens"] != 0
    assert found["model.embed_tokens"][kept].allclose(before[kept] / (1 - RATE))


@pytest.mark.parametrize("shape", [(7,), (3, 5, 11), (0, 4)])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.9999999])
def test_what_is_dropped_is_a_function_of_torchs_seed(shape: tuple[int, ...], rate: float) -> None:
    values = torch.rand(shape) + 1
    torch.manual_seed(1)
    found = drop_share(values, rate)
    torch.manual_seed(1)
    assert drop_share(values, rate).equal(found)
    assert drop_share(values, 0.0).equal(values)
    assert found.shape == values.shape
    assert found.isfinite().all()


def test_the_gradient_passes_where_values_do() -> None:
    values = torch.rand(10_000, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(2)
    dropped = drop_share(values, 0.3)
    dropped.sum().backward()
    assert values.grad is not None
    assert (values.grad * values.detach()).allclose(dropped.detach())
    assert float(values.grad.mean()) == pytest.approx(1.0, abs=0.03)
    assert not drop_share(values, 0.3).equal(dropped)


def test_evaluation_and_what_is_saved_know_nothing_of_it(tmp_path: Path) -> None:
    model, stock = plain(), plain()
    add_dropout(model, "causal", RATE)
    with torch.no_grad():
        assert model.eval()(IDS).logits.equal(stock.eval()(IDS).logits)
    for name, saved in (("ours", model), ("stock", stock)):
        saved.save_pretrained(tmp_path / name)
    for file in (tmp_path / "stock").iterdir():
        assert (tmp_path / "ours" / file.name).read_bytes() == file.read_bytes()


def test_the_global_generator_decides_what_is_dropped() -> None:
    model = plain()
    add_dropout(model, "causal", RATE)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(model.train()(input_ids=IDS, labels=IDS).loss.item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_a_class_that_has_its_own_gets_none_of_ours(family: str) -> None:
    model = build(family, MODELS[family], own_ids(64), 24, seed=0)
    add_dropout(model, family, RATE)
    assert not any(module._forward_hooks for module in model.modules())


def test_gpt2_has_its_own() -> None:
    model = random_model("gpt2")
    add_dropout(model, "causal", RATE)
    assert not any(module._forward_hooks for module in model.modules())


def test_what_adapters_add_is_dropped_with_the_branch() -> None:
    model = plain()
    wrapped = adapt(model, AdapterConfig(rank=2), seed=0)
    add_dropout(model, "causal", RATE)
    found = outputs_of(model, BRANCH_ENDS)
    assert len(found) == 2 * 3
    assert all(float((output == 0).float().mean()) == pytest.approx(RATE, abs=0.03) for output in found.values())
    assert not any(module._forward_hooks for block in merge(wrapped).model.layers for module in block.modules())


def test_fine_tuning_learns_the_rate_from_the_folder(tmp_path: Path) -> None:
    assert rate_of(tmp_path) == 0.0
    write_json(tmp_path / "training.json", {"config": {}})
    assert rate_of(tmp_path) == 0.0
    write_json(tmp_path / "training.json", {"dropout": 0.1})
    assert rate_of(tmp_path) == 0.1
