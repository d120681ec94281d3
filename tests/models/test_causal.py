import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.special_tokens import own_ids
from privllm.models.causal import CausalConfig, build_causal, next_token_loss
from privllm.models.config import inner_width
from privllm.models.loading import load
from privllm.models.reply_likelihood import log_probabilities
from privllm.tokens.special_ids import special_ids
from tests.foreign import foreign_model

SMALL = CausalConfig(layers=2, width=32, heads=4)


def test_the_seed_alone_decides_the_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second, other = (build_causal(SMALL, own_ids(40), 16, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    assert not torch.equal(first.model.embed_tokens.weight, other.model.embed_tokens.weight)


def test_shape_follows_the_configuration():
    config = build_causal(
        CausalConfig(layers=3, width=64, heads=4, kv_heads=2, rope_theta=500.0, tie_embeddings=False),
        own_ids(40),
        16,
        0,
    ).config
    assert (config.num_hidden_layers, config.num_key_value_heads, config.head_dim, config.intermediate_size) == (
        3,
        2,
        16,
        192,
    )
    assert config.rope_parameters["rope_theta"] == 500.0
    assert not config.tie_word_embeddings
    block = 4 * 256 * 256 + 3 * 256 * 768 + 2 * 256 + 2 * 64  # attention, feed-forward, norms, norms of query and key
    assert build_causal(CausalConfig(), own_ids(4096), 256, 0).num_parameters() == 4096 * 256 + 6 * block + 256


def test_saved_model_is_plain_transformers(tmp_path):
    model = build_causal(SMALL, own_ids(40), 16, 0)
    torch.nn.init.normal_(model.model.layers[0].mlp.down_proj.weight)
    model.save_pretrained(tmp_path)
    stock, ours = AutoModelForCausalLM.from_pretrained(tmp_path), load("causal", tmp_path)
    assert "privllm" not in json.dumps(stock.config.to_dict())
    assert stock.generation_config.eos_token_id == 0
    ids = torch.randint(2, 40, (1, 16))
    with torch.no_grad():
        assert torch.allclose(stock.eval()(ids).logits, ours(ids).logits, atol=1e-5)


def test_an_empty_folder_is_the_users_to_mend(tmp_path):
    with pytest.raises(UserError, match="dvc repro pretrain"):
        load("causal", tmp_path)
    with pytest.raises(UserError, match="dvc repro tokenizer"):
        special_ids(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": 0},
        {"width": 30},
        {"kv_heads": 3},
        {"dropout": 1.0},
        {"rope_theta": 1.0},
        {"feedforward": -1},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        CausalConfig(**wrong)


@pytest.mark.parametrize(
    ("feedforward", "width", "inner"),
    [
        (0, 32, 128),
        (0, 128, 384),
        (0, 191, 512),
        (0, 192, 512),
        (0, 256, 768),
        (0, 384, 1024),
        (0, 512, 1536),
        (90, 256, 90),
    ],
)
def test_the_feed_forward_width_is_one_that_quantisers_take(feedforward, width, inner):
    assert inner_width(feedforward, width) == inner


@pytest.mark.parametrize("kind", TRAITS["causal"].model_types)
def test_the_loss_of_a_row_is_that_of_its_documents_alone(kind: str, tmp_path: Path) -> None:
    """Of every architecture: by the model's own forward pass, and no document looks into another."""
    foreign_model("causal", kind, 40).save_pretrained(tmp_path)
    model, stock = load("causal", tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randint(2, 40, (1, length), generator=generator) for length in (9, 7))
    alone = 0.0
    for tokens in (first, second):
        logits = stock(tokens[:, :-1]).logits
        alone += float(torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:], reduction="sum"))
    inputs = torch.cat([first[:, :-1], second[:, :-1]], 1)
    positions = torch.tensor([[*range(8), *range(6)]])
    labels = torch.cat([first[:, 1:], second[:, 1:]], 1)
    with torch.no_grad():
        together = float(next_token_loss(model, (inputs, positions, labels), "sum"))
    assert together == pytest.approx(alone, rel=1e-4)
    prompt, reply = first[0, :4], first[0, 4:]
    nats = -log_probabilities(model, [(prompt.numpy(), reply.numpy())]).total[0]
    expected = torch.nn.functional.cross_entropy(stock(first[:, :-1]).logits[0, 3:], reply, reduction="sum")
    assert nats == pytest.approx(float(expected), rel=1e-4)
