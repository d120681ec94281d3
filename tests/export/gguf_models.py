"""Tiny random models of the architectures that are written as GGUF, and what a GGUF file says."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from transformers import AutoConfig, AutoModelForCausalLM

ROPE = {"rope_type": "default", "rope_theta": 5000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


# What an architecture has otherwise than the shape below.
GEMMA = {"query_pre_attn_scalar": 16, "sliding_window": 24, "pad_token_id": None, "num_hidden_layers": 4}
CHANGES: dict[str, dict[str, Any]] = {
    "gemma2": GEMMA | {"tie_word_embeddings": True},
    "gemma3_text": GEMMA
    | {
        "num_hidden_layers": 7,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 2000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 50000.0},
        },
    },
    "phi3": {"pad_token_id": None, "num_key_value_heads": 2},
    "smollm3": {"pad_token_id": None, "num_hidden_layers": 5},
    "olmo2": {"pad_token_id": None},
}
WITHOUT = {"gpt2": ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters", "intermediate_size")}


def blocks_of(kind: str) -> int:
    """How many blocks a tiny model of an architecture has."""
    return int(CHANGES.get(kind, {}).get("num_hidden_layers", 2))


def tiny_model(folder: Path, kind: str, tokenizer: Path, rows: int = 384, **changes: Any) -> Path:
    """Write a random model of a few blocks with the tokenizer of another folder, and return its folder."""
    shape = {
        "vocab_size": rows,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_parameters": ROPE,
        "bos_token_id": None,
        "eos_token_id": 0,
        "tie_word_embeddings": False,
    }
    shape |= CHANGES.get(kind, {})
    for key in WITHOUT.get(kind, ()):
        del shape[key]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(shape | changes)))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        weights = 1 + 0.3 * noise if "norm" in name else 0.3 * noise
        parameter.data = weights.half().float()  # what fp16 holds as it is
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def values_of(path: Path) -> dict[str, Any]:
    """Return {key: value} of a GGUF file."""
    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}


def types_of(path: Path) -> dict[str, str]:
    """Return {name of a weight: its type} of a GGUF file."""
    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
