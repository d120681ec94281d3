from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file
from transformers import AutoConfig

from privllm.core.errors import UserError
from privllm.export.gguf import write_gguf
from privllm.export.gguf_kinds import (
    as_llama_cpp_has_it,
    as_transformers_has_it,
    counts_of,
    own_values,
    require_computable,
    shape_there,
)
from privllm.export.gguf_layout import ARCHITECTURES, halved
from tests.export.gguf_models import ROPE, tiny_model, types_of, values_of

FULL, SLIDING = "full_attention", "sliding_attention"
NEAR_SCALED = {FULL: ROPE, SLIDING: {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}


def config(kind: str, **changes: Any) -> Any:
    shape = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "pad_token_id": 0}
    gemma = {"head_dim": 16, "query_pre_attn_scalar": 16} if kind.startswith("gemma") else {}
    return AutoConfig.for_model(kind, **(shape | gemma | changes))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_an_architecture_has_as_a_rule_is_taken(kind: str) -> None:
    require_computable(config(kind), ARCHITECTURES[kind], "m")


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("llama", {"hidden_act": "gelu"}, "activation `gelu`; llama.cpp computes this architecture with silu"),
        ("gemma2", {"hidden_activation": "gelu"}, "with gelu_pytorch_tanh"),
        ("gpt2", {"activation_function": "relu"}, "activation `relu`; .* with gelu_new"),
        ("gemma2", {"layer_types": [FULL] * 4}, "other `layer_types` than llama.cpp"),
        ("gemma3_text", {"layer_types": [SLIDING, FULL, SLIDING, SLIDING]}, "other `layer_types` than llama.cpp"),
        ("gemma2", {"query_pre_attn_scalar": 24}, "`query_pre_attn_scalar` 24; llama.cpp scales by 16 here"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "sees text in both directions"),
        ("gemma2", {"attn_logit_softcapping": None}, "no limit of its logits"),
        ("gemma2", {"final_logit_softcapping": None}, "no limit of its logits"),
        ("gemma2", {"tie_word_embeddings": False}, "an output matrix of its own"),
        ("gemma2", {"num_hidden_layers": 46, "num_attention_heads": 2}, "`query_pre_attn_scalar` 16; .* by 32 here"),
        ("gemma3_text", {"rope_parameters": NEAR_SCALED}, "of the kind `linear` where it looks back less far"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1]}, "other `no_rope_layers` than llama.cpp"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scales its attention"),
        ("gpt2", {"scale_attn_weights": False}, "scales its attention"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(kind: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        require_computable(config(kind, **changes), ARCHITECTURES[kind], "m")


def test_counts_and_values_of_their_own() -> None:
    gpt2 = counts_of(config("gpt2", n_positions=96))
    assert (gpt2["context_length"], gpt2["feed_forward_length"], gpt2["attention.head_count_kv"]) == (96, 256, 4)
    assert own_values(config("gpt2"), "gpt2") == {"attention.layer_norm_epsilon": 1e-5}
    values = own_values(config("gemma3_text"), "gemma3")
    assert (values["rope.freq_base_swa"], values["attention.sliding_window"]) == (1e4, 4096)
    capped = own_values(config("gemma2"), "gemma2")
    assert (capped["attn_logit_softcapping"], capped["final_logit_softcapping"]) == (50.0, 30.0)
    assert "rope.freq_base_swa" not in capped
    assert own_values(config("phi3", sliding_window=None), "phi3")["attention.sliding_window"] == 0


def test_weights_as_llama_cpp_has_them() -> None:
    matrix, norm = torch.arange(32.0).reshape(8, 4), torch.zeros(8)
    heads = (2, 1)
    turned = as_llama_cpp_has_it(matrix, "blk.0.attn_q.weight", "smollm3", heads)
    np.testing.assert_array_equal(halved(turned, 2).numpy(), matrix.numpy())
    assert as_llama_cpp_has_it(matrix, "blk.0.attn_q.weight", "olmo2", heads) is matrix
    assert as_llama_cpp_has_it(norm, "blk.0.post_ffw_norm.weight", "gemma2", heads).tolist() == [1.0] * 8
    assert as_llama_cpp_has_it(norm, "blk.0.attn_norm.weight", "olmo2", heads) is norm
    assert as_llama_cpp_has_it(matrix, "blk.0.ffn_up.weight", "gpt2", heads).shape == (4, 8)
    assert shape_there((8, 4), "blk.0.ffn_up.weight", "gpt2") == (4, 8)
    for name in ("token_embd.weight", "position_embd.weight"):
        assert shape_there((8, 4), name, "gpt2") == (8, 4)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "phi3"])
@pytest.mark.parametrize("name", ["attn_q.weight", "attn_k.weight", "ffn_up.weight", "attn_q_norm.weight"])
def test_weights_come_back_as_they_were(architecture: str, name: str) -> None:
    weights = np.arange(32, dtype=np.float32).reshape(8, 4)
    there = as_llama_cpp_has_it(weights, f"blk.0.{name}", architecture, (2, 1))
    np.testing.assert_array_equal(as_transformers_has_it(there, f"blk.0.{name}", architecture, (2, 1)), weights)


def test_learnt_positions_stay_fp32_and_biases_arrive(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "m", "gpt2", exported())
    write_gguf(folder, "q8_0", tmp_path / "a.gguf", "m")
    types = types_of(tmp_path / "a.gguf")
    assert types["position_embd.weight"] == types["blk.1.attn_qkv.bias"] == "F32"
    assert types["blk.1.attn_qkv.weight"] == "Q8_0"
    found = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "a.gguf").tensors}
    bias = load_file(folder / "model.safetensors")["transformer.h.1.attn.c_attn.bias"].numpy()
    np.testing.assert_array_equal(found["blk.1.attn_qkv.bias"], bias)
    assert not any(key.startswith("gpt2.rope.freq") for key in values_of(tmp_path / "a.gguf"))
