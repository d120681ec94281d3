from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
from safetensors import safe_open
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from privllm.core.errors import UserError
from privllm.core.families import CAUSAL
from privllm.export.gguf_layout import (
    ARCHITECTURES,
    MODEL_TYPES,
    halved,
    heads_of_pairs,
    llama3_factors,
    paired,
    required_names,
    rotation_of,
    tensor_names,
)
from tests.export.gguf_models import LLAMA3, blocks_of, tiny_model


def config(**rope: object) -> LlamaConfig:
    return LlamaConfig(rope_parameters={"rope_theta": 1e4, **rope}, max_position_embeddings=128)


def test_every_architecture_that_can_be_handed_over_can_be_trained() -> None:
    assert set(ARCHITECTURES) <= set(CAUSAL.model_types)


def test_a_file_becomes_the_first_model_of_its_architecture() -> None:
    assert (MODEL_TYPES["llama"], MODEL_TYPES["gemma3"]) == ("llama", "gemma3_text")
    assert set(MODEL_TYPES) == set(ARCHITECTURES.values())


def test_names_are_told_apart_in_both_directions() -> None:
    names = list(tensor_names("llama", 3))
    assert len({ours for ours, _ in names}) == len({theirs for _, theirs in names}) == len(names)
    assert ("blk.2.attn_q.weight", "model.layers.2.self_attn.q_proj.weight") in names


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_is_required_is_what_a_plain_model_has(kind: str, tmp_path: Path, exported: Callable[..., Path]) -> None:
    folder = tiny_model(tmp_path / "m", kind, exported())
    with safe_open(folder / "model.safetensors", framework="np") as file:
        present = set(file.keys())
    required = {theirs for _, theirs in required_names(ARCHITECTURES[kind], blocks_of(kind))}
    assert required == present - {"lm_head.weight"}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_names_are_those_of_the_package_gguf(kind: str) -> None:
    architecture = ARCHITECTURES[kind]
    (number,) = (key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(number, 1)
    for ours, theirs in required_names(architecture, 1):
        assert names.get_name(theirs, (".weight", ".bias")) == ours


@pytest.mark.parametrize("shape", [(8,), (8, 3)])
def test_halves_and_pairs_undo_each_other(shape: tuple[int, ...]) -> None:
    rows = np.arange(np.prod(shape)).reshape(shape)
    assert paired(np.arange(8), 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    np.testing.assert_array_equal(halved(paired(rows, 2), 2), rows)
    np.testing.assert_array_equal(paired(torch.tensor(rows), 2).numpy(), paired(rows, 2))


def test_only_queries_and_keys_of_llama_change_places() -> None:
    assert heads_of_pairs("llama", "blk.0.attn_q.weight", 8, 2) == 8
    assert heads_of_pairs("llama", "blk.0.attn_k.bias", 8, 2) == 2
    assert heads_of_pairs("llama", "blk.0.attn_v.weight", 8, 2) == 0
    assert heads_of_pairs("llama", "token_embd.weight", 8, 2) == 0
    assert heads_of_pairs("qwen3", "blk.0.attn_q.weight", 8, 2) == 0


def test_kinds_of_rotation() -> None:
    assert rotation_of(config(), 64, "m").values == {"rope.freq_base": 1e4}
    linear = rotation_of(config(rope_type="linear", factor=4.0), 64, "m")
    assert linear.values == {"rope.freq_base": 1e4, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    yarn = rotation_of(config(rope_type="yarn", factor=2.0, original_max_position_embeddings=64), 64, "m")
    assert yarn.values["rope.scaling.original_context_length"] == 64
    assert yarn.factors is None


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64, "attention_factor": 2.0},
        {"partial_rotary_factor": 0.5},
    ],
)
def test_other_kinds_are_refused(rope: dict[str, object]) -> None:
    with pytest.raises(UserError, match="not written as GGUF"):
        rotation_of(config(**rope), 64, "m")


def test_factors_are_what_transformers_divides_by() -> None:
    shape = {"hidden_size": 128, "num_attention_heads": 2, "max_position_embeddings": 256}
    scaled = LlamaRotaryEmbedding(LlamaConfig(rope_parameters=LLAMA3, **shape)).inv_freq
    default = {"rope_type": "default", "rope_theta": LLAMA3["rope_theta"]}
    plain = LlamaRotaryEmbedding(LlamaConfig(rope_parameters=default, **shape)).inv_freq
    factors = llama3_factors(LLAMA3["rope_theta"], 64, LLAMA3)
    np.testing.assert_allclose(factors, (plain / scaled).numpy(), rtol=1e-5)
