import functools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from privllm.core.special_tokens import own_ids
from privllm.models.blocks import blocks
from privllm.models.config import inner_width
from privllm.models.loading import MODELS, build
from privllm.models.vocabulary import IGNORED
from privllm.train.config import TrainConfig
from privllm.train.lightning_module import REST_RATE, make_optimizer
from privllm.train.spelling_parts import SpellingParts
from tests.foreign import ARCHITECTURES, random_model
from tests.train.test_pretrain_objectives import objective_of
from tests.train.tiny_corpus import CONTEXT, VOCABULARY, Corpus, tiny


def test_loss_is_the_cross_entropy_of_the_models_own_logits(corpus: Corpus):
    objective = objective_of("causal", corpus)
    objective.model.eval()
    inputs = torch.randint(2, VOCABULARY, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    labels = inputs.roll(-1, 1)
    labels[1, 5:] = IGNORED
    positions = torch.arange(CONTEXT).expand(3, CONTEXT)
    logits = objective.model(input_ids=inputs).logits
    is_label = labels != IGNORED
    assert torch.allclose(
        objective.loss((inputs, positions, labels)), F.cross_entropy(logits[is_label], labels[is_label]), atol=1e-5
    )
    assert torch.allclose(
        objective.loss((inputs, positions, labels), "sum"),
        F.cross_entropy(logits[is_label], labels[is_label], reduction="sum"),
        atol=1e-3,
    )


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize(("optimizer", "rate"), [("muon", REST_RATE), ("adamw", 1.0)])
def test_every_parameter_is_in_one_group_and_decays_or_not(family, optimizer, rate):
    cfg = getattr(tiny(optimizer=optimizer), family)
    model = build(family, cfg.model, own_ids(VOCABULARY), CONTEXT, 0)
    groups = make_optimizer(model, cfg, SpellingParts({}, VOCABULARY), 2.0).param_groups
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    rest = groups.pop()
    embeddings = groups.pop() if optimizer == "muon" else rest
    assert (rest["rate"], rest["weight_decay"], rest["muon"]) == (rate, 0.0, False)
    assert any(p is model.get_input_embeddings().weight for p in embeddings["params"])
    if optimizer == "muon":
        assert (embeddings["rate"], embeddings["weight_decay"], embeddings["muon"]) == (rate, cfg.weight_decay, False)
        assert (embeddings["tokens"], embeddings["damping"]) == (True, 2.0)
        assert all(len(p) == model.config.vocab_size for p in embeddings["params"])
        assert all(len(p) != model.config.vocab_size or p.ndim == 1 for p in rest["params"])
    assert all(group["muon"] == (optimizer == "muon") for group in groups)
    inside = {id(p) for part in (*blocks(model), getattr(model, "head", torch.nn.Module())) for p in part.parameters()}
    assert all(id(p) in inside and p.ndim == 2 for group in groups for p in group["params"])
    for group in groups:  # each part of a matrix is a whole number of rows and columns
        assert all(
            p.shape[0] % group["blocks"][0] == 0 and p.shape[1] % group["blocks"][1] == 0 for p in group["params"]
        )
    assert {group["blocks"] for group in groups} == {
        "causal": {(2, 1), (1, 2)},
        "masked": {(1, 1), (6, 1), (2, 1), (1, 2)},
        "seq2seq": {(2, 1), (1, 2)},
    }[family]


MATRICES = {  # of each architecture, the modules whose weights go to Muon, and those of a layer behind the blocks
    "bert": (
        ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        ("intermediate.dense", "output.dense"),
        ("cls.predictions.transform.dense",),
    ),
    "distilbert": (
        ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
        ("ffn.lin1", "ffn.lin2"),
        ("vocab_transform",),
    ),
    "gpt2": (("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj"), ()),
    "llama": (
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
        ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        (),
    ),
    "t5": (
        (
            "SelfAttention.q",
            "SelfAttention.k",
            "SelfAttention.v",
            "SelfAttention.o",
            "EncDecAttention.q",
            "EncDecAttention.k",
            "EncDecAttention.v",
            "EncDecAttention.o",
        ),
        ("DenseReluDense.wi", "DenseReluDense.wo"),
        (),
    ),
}


HEADS = {  # parts, rows by columns, in which matrices are orthogonalised
    "bert": {(4, 1), (1, 4)},
    "distilbert": {(4, 1), (1, 4)},
    "gpt2": {(4, 1), (1, 4)},
    "llama": {(4, 1), (2, 1), (1, 4)},
    "t5": {(4, 1), (1, 4)},
}


def expected_matrices(kind: str, names: list[str]) -> set[str]:
    """The oracle: by the names that each architecture gives its layers."""
    attention, feed_forward, behind = MATRICES[kind]
    ends = tuple(f".{name}.weight" for name in (*attention, *feed_forward))
    inside = {name for name in names if name.endswith(ends)}
    return inside | {f"{name}.weight" for name in behind}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_goes_to_muon_decays_and_neither_in_other_peoples_architectures(kind: str, optimizer: str) -> None:
    model = random_model(kind)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, TrainConfig(optimizer=optimizer, weight_decay=0.1)).param_groups
    *matrices, rest = [({names[id(p)] for p in group["params"]}, group) for group in groups]
    assert set().union(*(found for found, _ in matrices)) == expected_matrices(kind, list(names.values()))
    for _, group in matrices:
        assert (group["muon"], group["weight_decay"], group["rate"]) == (optimizer == "muon", 0.1, 1.0)
    assert (rest[1]["muon"], rest[1]["weight_decay"]) == (False, 0.0)
    assert set(names.values()) == rest[0].union(*(found for found, _ in matrices))
    by_head = {group["blocks"] for _, group in matrices} - {(1, 1)}
    assert by_head == HEADS[kind]


def test_feed_forward_matrices_are_orthogonalised_by_parts_of_the_residual_stream():
    cfg = tiny().causal
    groups = make_optimizer(build("causal", cfg.model, own_ids(VOCABULARY), CONTEXT, 0), cfg).param_groups
    width, inner = 32, inner_width(0, 32)
    of_shape = {tuple(p.shape): group["blocks"] for group in groups[:-1] for p in group["params"]}
    assert of_shape[inner, width] == (1, cfg.model.heads)
    assert of_shape[width, inner] == (cfg.model.heads, 1)


@pytest.mark.parametrize("family", MODELS)
def test_a_compiled_module_has_the_loss_and_gradients_of_the_eager_one(corpus: Corpus, monkeypatch, family):
    # Inductor takes a minute on a busy machine; what is ours (block by block, attention without a mask) is before it.
    monkeypatch.setattr("torch.compile", functools.partial(torch.compile, backend="aot_eager"))
    losses_and_gradients = []
    for compiled in (False, True):
        objective = objective_of(family, corpus)
        objective.model.eval()  # no dropout
        with torch.no_grad():
            for name, parameter in objective.model.named_parameters():
                if not parameter.any():  # of the matrices that begin as zero
                    parameter.copy_(torch.from_numpy(np.random.default_rng(len(name)).normal(0, 0.1, parameter.shape)))
        if compiled:
            objective.compile()
        loss = objective.loss(objective.batch(0))
        loss.backward()
        losses_and_gradients.append((loss.detach(), next(blocks(objective.model)[0].parameters()).grad))
    assert torch.allclose(losses_and_gradients[0][0], losses_and_gradients[1][0], atol=1e-5)
    assert torch.allclose(losses_and_gradients[0][1], losses_and_gradients[1][1], atol=1e-5)
