from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privllm.base.gguf_file import consistent, open_gguf
from privllm.base.gguf_shape import Shape, require_weights, shape_of
from privllm.core.errors import UserError
from privllm.export.gguf import write_gguf
from privllm.export.gguf_layout import ARCHITECTURES
from tests.base.gguf_changes import changed_model
from tests.export.gguf_models import blocks_of, tiny_model


def read(path: Path) -> Shape:
    """Return the shape of a file whose weights are those of the shape."""
    opened = open_gguf(path)
    with consistent(path):
        shape = shape_of(opened)
        require_weights(opened, shape)
    return shape


def some(*size: int) -> np.ndarray:
    return np.zeros(size, np.float16)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_has_the_weights_that_are_expected(
    exported: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    write_gguf(tiny_model(tmp_path / "model", kind, exported()), "q8_0", tmp_path / "m.gguf", "m")
    shape = read(tmp_path / "m.gguf")
    assert (shape.blocks, shape.head_size, shape.turned) == (blocks_of(kind), 16, 16)
    assert shape.heads == (4, 4 if kind == "gpt2" else 2)
    assert shape.counts["vocab_size"] == 384
    assert shape.is_tied == (kind in ("gemma2",))


def test_biases_are_where_attention_and_feed_forward_have_them(exported: Callable[..., Path], tmp_path: Path) -> None:
    for number, biases in enumerate([{"attention_bias": True}, {"mlp_bias": True}, {}]):
        folder = tiny_model(tmp_path / f"model{number}", "llama", exported(), **biases)
        write_gguf(folder, "f16", tmp_path / f"{number}.gguf", "m")
        shape = read(tmp_path / f"{number}.gguf")
        assert (shape.attention_bias, shape.mlp_bias) == (number == 0, number == 1)


def test_an_output_that_is_the_embedding_once_more_is_tied(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", "gpt2", exported(), tie_word_embeddings=True)
    write_gguf(folder, "f16", tmp_path / "whole.gguf", "m")
    embedding = np.array(open_gguf(tmp_path / "whole.gguf").weights["token_embd.weight"].data)
    twice = changed_model(exported(), tmp_path / "a", "gpt2", beside={"output.weight": embedding})
    assert read(twice).is_tied == read(tmp_path / "whole.gguf").is_tied is True
    other = changed_model(exported(), tmp_path / "b", "gpt2", beside={"output.weight": embedding + np.float16(1)})
    assert not read(other).is_tied


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("llama", {"values": {"llama.block_count": None}}, r"does not say llama\.block_count"),
        ("llama", {"values": {"llama.block_count": 1}}, r"has the weight blk\.1\."),
        ("llama", {"values": {"llama.block_count": 3}}, r"lacks the weight blk\.2\."),
        ("llama", {"values": {"llama.block_count": 2**31}}, "lacks the weights of most of its"),
        ("llama", {"values": {"llama.block_count": "two"}}, "contradicts itself"),
        ("llama", {"values": {"llama.attention.head_count": 0}}, r"says 0 for llama\.attention\.head_count"),
        ("llama", {"values": {"llama.block_count": 0}}, r"says 0 for llama\.block_count"),
        ("llama", {"values": {"llama.attention.head_count": 5122}}, "contradicts itself"),
        ("llama", {"values": {"llama.attention.head_count_kv": [2, 1]}}, "head_count_kv for each block"),
        ("llama", {"values": {"llama.embedding_length": 65}}, "rows of another length"),
        ("llama", {"values": {"llama.attention.value_length": 8}}, "heads of different sizes"),
        ("llama", {"values": {"llama.rope.dimension_count": 8}}, "heads of different sizes"),
        ("llama", {"without": "blk.0.ffn_up.weight"}, r"lacks the weight blk\.0\.ffn_up\.weight"),
        ("llama", {"beside": {"blk.0.ffn_gate_inp.weight": some(2)}}, r"has the weight blk\.0\.ffn_gate_inp"),
        ("llama", {"beside": {"blk.0.attn_norm.bias": some(64)}}, r"has the weight blk\.0\.attn_norm\.bias"),
        ("llama", {"beside": {"blk.0.attn_q.bias": some(64)}}, r"lacks the weight blk\.0\.attn_k\.bias"),
        ("llama", {"beside": {"token_embd.weight": some(64)}}, "contradicts itself"),
        ("gemma2", {"beside": {"output.weight": some(384, 64)}}, r"has the weight output\.weight"),
        ("gemma3_text", {"beside": {"v.blk.0.attn_q.weight": some(8, 8)}}, r"has the weight v\.blk\.0\.attn_q"),
        ("gemma3_text", {"values": {"gemma3.attention.head_count_kv": 4}}, "attn_k.weight is 32 x 64 numbers"),
        ("phi3", {"values": {"phi3.feed_forward_length": 192}}, "ffn_.* numbers, where a model as it says has"),
        ("phi3", {"values": {"phi3.rope.dimension_count": 18}}, "contradicts itself"),
        ("phi3", {"values": {"phi3.attention.key_length": 32}}, "heads of different sizes"),
        (
            "phi3",
            {"values": {f"phi3.attention.{of}_length": 32 for of in ("key", "value")}},
            "has heads of 32 numbers, where its width gives each 16",
        ),
        ("olmo2", {"beside": {"blk.1.attn_q_norm.weight": some(16)}}, "attn_q_norm.weight is 16 numbers, .* 64"),
        ("gpt2", {"values": {"gpt2.context_length": 128}}, "position_embd.weight is 256 x 64 numbers, .* 128 x 64"),
        ("gpt2", {"without": "blk.1.attn_qkv.bias"}, r"lacks the weight blk\.1\.attn_qkv\.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    exported: Callable[..., Path], tmp_path: Path, kind: str, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read(changed_model(exported(), tmp_path, kind, **change))
