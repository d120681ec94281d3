"""Which modules of other people's architectures are blocks."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from privllm.core.errors import UserError
from privllm.models.blocks import blocks, projections
from tests.foreign import ARCHITECTURES, random_model

BLOCKS = {
    "bert": ["bert.encoder.layer.0", "bert.encoder.layer.1", "bert.encoder.layer.2"],
    "distilbert": [f"distilbert.transformer.layer.{i}" for i in range(3)],
    "gpt2": [f"transformer.h.{i}" for i in range(3)],
    "llama": [f"model.layers.{i}" for i in range(3)],
    "t5": ["encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"],
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_blocks_are_found_by_no_name(kind: str) -> None:
    model = random_model(kind)
    names = {id(module): name for name, module in model.named_modules()}
    assert [names[id(block)] for block in blocks(model)] == BLOCKS[kind]


def test_a_longer_list_that_is_not_of_layers_does_not_count() -> None:
    """Experts, or a picture's encoder."""
    model = random_model("llama")
    model.model.pictures = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(9))
    model.model.layers[0].experts = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(9))
    assert [*blocks(model)] == [*model.model.layers]


def test_a_model_without_blocks_is_refused_by_name() -> None:
    config = AutoConfig.for_model("llama", hidden_size=8, num_hidden_layers=0, num_attention_heads=2, vocab_size=9)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    del model.model.layers
    with pytest.raises(UserError, match="a llama model has no list of blocks"):
        blocks(model)


def test_tables_are_no_projections() -> None:
    assert "relative_attention_bias" in dict(random_model("t5").encoder.block[0].layer[0].SelfAttention.named_modules())
    assert set(projections(random_model("t5").encoder.block[0].layer[0])) == {
        f"SelfAttention.{name}" for name in ("q", "k", "v", "o")
    }
