import functools

import pytest
import torch
from tiny_corpus import CONTEXT, VOCABULARY, tiny
from torch.nn import functional as F

from privllm.model.causal import build_causal
from privllm.train.data import IGNORED
from privllm.train.module import REST_RATE, CausalTraining, make_optimizer
from privllm.train.schedule import plan


def make_module(**changes) -> CausalTraining:
    cfg = tiny(**changes)
    return CausalTraining(build_causal(cfg.model, VOCABULARY, CONTEXT, 0), cfg, plan(10, 2, 0.3), compiled=False)


def test_loss_is_the_cross_entropy_of_the_models_own_logits():
    module = make_module().eval()
    inputs = torch.randint(2, VOCABULARY, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    labels = inputs.roll(-1, 1)
    labels[1, 5:] = IGNORED
    logits = module.model(input_ids=inputs).logits
    kept = labels != IGNORED
    assert torch.allclose(module.loss((inputs, labels)), F.cross_entropy(logits[kept], labels[kept]), atol=1e-5)
    assert torch.allclose(module.loss((inputs, labels), "sum"), F.cross_entropy(logits[kept], labels[kept], reduction="sum"), atol=1e-3)


@pytest.mark.parametrize(("optimizer", "rate"), [("muon", REST_RATE), ("adamw", 1.0)])
def test_every_parameter_is_in_one_group_and_the_rest_does_not_decay(optimizer, rate):
    module = make_module(optimizer=optimizer)
    groups = make_optimizer(module.model, module.cfg).param_groups
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.model.parameters())
    rest = groups[-1]
    assert (rest["rate"], rest["weight_decay"], rest["muon"]) == (rate, 0.0, False)
    assert any(p is module.model.model.embed_tokens.weight for p in rest["params"])
    assert all(group["muon"] == (optimizer == "muon") for group in groups[:-1])
    assert all(".layers." in name for name, p in module.model.named_parameters() if not any(p is q for q in rest["params"]))


def test_a_compiled_module_has_the_loss_and_gradients_of_the_eager_one(monkeypatch):
    # Inductor takes a minute on a busy machine; what is ours (block by block, attention without a mask) is before it.
    monkeypatch.setattr("torch.compile", functools.partial(torch.compile, backend="aot_eager"))
    cfg = tiny(compile=True)
    cfg.model.attention_dropout = 0.0
    inputs = torch.randint(2, VOCABULARY, (4, CONTEXT), generator=torch.Generator().manual_seed(0))
    found = []
    for compiled in (False, True):
        model = build_causal(cfg.model, VOCABULARY, CONTEXT, 0)
        with torch.no_grad():
            for layer in model.model.layers:
                layer.mlp.down_proj.weight.copy_(layer.mlp.up_proj.weight.T)
        module = CausalTraining(model, cfg, plan(10, 2, 0.3), compiled)
        loss = module.loss((inputs, inputs.roll(-1, 1)))
        loss.backward()
        found.append((loss.detach(), model.model.layers[0].mlp.up_proj.weight.grad))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
