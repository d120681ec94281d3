from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from privllm.core.families import CAUSAL
from privllm.models import causal
from privllm.models.attention import FUSED_CAUSAL, causal_attention
from privllm.models.causal import next_token_loss
from privllm.models.document_masks import causal_blocks, chunk_starts, chunks_of, is_near, same_chunk

POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 0, 0, 1], [0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 2, 3, 0, 1, 2]])
SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 32,
}
ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=3)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**{k: v for k, v in SMALL.items() if k != "head_dim"})),
    "qwen3": lambda: Qwen3ForCausalLM._from_config(Qwen3Config(**SMALL), attn_implementation=FUSED_CAUSAL),
}


def test_a_mask_is_that_of_the_obvious_implementation() -> None:
    chunks = chunks_of(POSITIONS)
    mask = same_chunk(chunks, chunks)
    near = is_near(8, 2, torch.device("cpu"))
    assert mask.shape == (3, 1, 8, 8)
    for row, positions in enumerate(POSITIONS.tolist()):
        for query in range(8):
            for key in range(8):
                between = positions[min(query, key) + 1 : max(query, key) + 1]
                assert bool(mask[row, 0, query, key]) == (0 not in between)
                assert bool(near[query, key]) == (abs(query - key) <= 2)


def test_chunks_start_where_positions_do_and_rows_of_one_chunk_need_no_mask() -> None:
    starts = chunk_starts(POSITIONS)
    assert starts is not None
    assert starts.tolist() == [0, 3, 5, 6, 8, 16, 17, 21]
    assert chunk_starts(POSITIONS[1:2]) is None


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention_by_chunk_is_attention_with_the_mask(kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, 8, 16, generator=generator)
    key, value = torch.randn(2, 3, kv_heads, 8, 16, generator=generator)
    module = torch.nn.Module()
    by_chunk, _ = causal_attention(module, query, key, value, None, chunk_starts=chunk_starts(POSITIONS))
    chunks = chunks_of(POSITIONS)
    mask = same_chunk(chunks, chunks).tril()
    masked = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=kv_heads != 4)
    assert torch.allclose(by_chunk, masked.transpose(1, 2), atol=1e-5)


@pytest.mark.parametrize("kv_heads", [4, 2])
@torch.no_grad()
def test_attention_by_blocks_is_attention_by_chunk(kv_heads: int) -> None:
    """On CUDA the same is compiled, and has a backward pass."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, 8, 16, generator=generator)
    key, value = torch.randn(2, 3, kv_heads, 8, 16, generator=generator)
    module = torch.nn.Module()
    by_chunk, _ = causal_attention(module, query, key, value, None, chunk_starts=chunk_starts(POSITIONS))
    by_block, _ = causal_attention(module, query, key, value, None, blocks=causal_blocks(POSITIONS))
    assert torch.allclose(by_chunk, by_block, atol=1e-5)


@torch.no_grad()
def test_blocks_are_used_where_the_device_has_them_and_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Qwen3Config(**SMALL | {"head_dim": 16})
    model = Qwen3ForCausalLM._from_config(config, attn_implementation=FUSED_CAUSAL).train()
    inputs, labels = torch.from_numpy(np.random.default_rng(0).integers(0, 40, (2, *POSITIONS.shape)))
    expected = next_token_loss(model, (inputs, POSITIONS, labels), "sum")
    monkeypatch.setattr(causal, "BY_BLOCKS", {"cpu"})
    monkeypatch.setattr(causal, "chunk_starts", lambda positions: pytest.fail("read back from the device"))
    assert torch.allclose(next_token_loss(model, (inputs, POSITIONS, labels), "sum"), expected, rtol=1e-5)
    monkeypatch.undo()
    monkeypatch.setattr(causal, "BY_BLOCKS", {"cpu"})
    monkeypatch.setattr(causal, "causal_blocks", lambda positions: pytest.fail("it cannot do this"))
    next_token_loss(model.eval(), (inputs, POSITIONS, labels), "sum")  # a validation keeps no scores
    model.config.attention_dropout = 0.1
    next_token_loss(model.train(), (inputs, POSITIONS, labels), "sum")
    next_token_loss(ARCHITECTURES["qwen3"](), (inputs, POSITIONS, labels), "sum")  # its heads are too narrow


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_causal_architecture_keeps_documents_apart(architecture: str) -> None:
    """A base model's kind of attention is transformers' own, which reads the positions; `test_causal` asks all others too."""
    assert set(ARCHITECTURES) <= set(CAUSAL.model_types)
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture]().eval()
    rng = np.random.default_rng(0)
    inputs, labels = torch.from_numpy(rng.integers(0, 40, (2, *POSITIONS.shape)))
    with torch.no_grad():
        packed = next_token_loss(model, (inputs, POSITIONS, labels), "sum")
        alone = torch.zeros(())
        for row in zip(inputs, POSITIONS, labels, strict=True):
            starts = (row[1] == 0).nonzero().flatten().tolist()
            for begin, end in pairwise([*starts, 8]):
                alone += next_token_loss(model, tuple(part[begin:end][None] for part in row), "sum")
        one_document = (inputs, torch.arange(8).expand(3, 8), labels)
        assert torch.allclose(packed, alone, rtol=1e-5)
        assert not torch.allclose(packed, next_token_loss(model, one_document, "sum"), rtol=1e-5)
