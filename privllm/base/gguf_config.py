"""The config.json of a GGUF file: what llama.cpp reads there, and what it has built in, as transformers has them."""

from typing import Any

from privllm.base.gguf_file import Opened, positive
from privllm.base.gguf_rotation import rope_parameters
from privllm.base.gguf_shape import ONE_SIZE, Shape
from privllm.core.errors import UserError
from privllm.export.gguf_kinds import (
    ACTIVATION,
    ACTIVATIONS,
    CAPS,
    GEMMA,
    WINDOW,
    WINDOWS,
    attention_scalar,
    turned_blocks,
    windows_of,
)
from privllm.export.gguf_layout import EPSILON, EPSILONS, MODEL_TYPES, ORIGINAL, OWN_NAMES

CLASSES = {  # {`model_type`: transformers' class}
    "qwen3": "Qwen3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
GEMMA2_HAS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}  # what llama.cpp takes by itself
GEMMA2_WINDOW = 4096
PATTERN = "attention.sliding_window_pattern"  # one in so many blocks sees everything


def config_of(opened: Opened, shape: Shape) -> dict[str, Any]:
    """Return config.json without the type of the numbers and the ids of special tokens.

    Raises UserError where the file lacks a number, or has one that transformers could not be told of.
    """
    architecture = opened.architecture
    kind = MODEL_TYPES[architecture]
    config: dict[str, Any] = {"architectures": [CLASSES[kind]], "model_type": kind}
    own = OWN_NAMES.get(kind, {})
    for name, count in shape.counts.items():
        if architecture != "gpt2" or name != "num_key_value_heads":
            config[own.get(name, name)] = count
    if architecture not in ONE_SIZE:
        config["head_dim"] = shape.head_size
    activation, function = ACTIVATIONS.get(architecture, ACTIVATION)
    key, name = EPSILONS.get(architecture, EPSILON)
    config |= {activation: function, name: positive(opened.value(key), key)}
    config["tie_word_embeddings"] = shape.is_tied
    if rope := rope_parameters(opened, shape):
        config["rope_parameters"] = rope
    return config | _own(opened, shape)


def _own(opened: Opened, shape: Shape) -> dict[str, Any]:
    """Return what only this architecture has."""
    architecture = opened.architecture
    if architecture in GEMMA:
        return _gemma(opened, shape)
    window = opened.count(WINDOW, 0)
    if architecture == "olmo2" and window:
        raise UserError(f"{opened.where} holds an OLMo 3, whose blocks look back {window} tokens; only OLMo 2 is read.")
    if architecture == "llama":
        return {"attention_bias": shape.attention_bias, "mlp_bias": shape.mlp_bias}
    if architecture == "qwen3":
        return {"attention_bias": shape.attention_bias}
    if architecture == "smollm3":
        return {"no_rope_layers": turned_blocks(shape.blocks)}
    if architecture == "phi3":
        original = opened.count(ORIGINAL, shape.counts["max_position_embeddings"])
        return {"original_max_position_embeddings": original, "sliding_window": window or None}
    return {}


def _gemma(opened: Opened, shape: Shape) -> dict[str, Any]:
    """Return how far blocks look back, what attention is scaled by, and the limits of logits."""
    is_second = opened.architecture == "gemma2"
    window = opened.count(WINDOW, GEMMA2_WINDOW if is_second else None)
    every = WINDOWS[opened.architecture]
    if opened.value_or(PATTERN, every) != every:
        raise UserError(f"{opened.where} has another {PATTERN} than transformers has built in for this architecture.")
    share = shape.counts["hidden_size"] // shape.counts["num_attention_heads"]
    config: dict[str, Any] = {
        "sliding_window": int(positive(window, WINDOW)),
        "layer_types": windows_of(opened.architecture, shape.blocks),
        "query_pre_attn_scalar": attention_scalar(opened.architecture, shape.blocks, share, shape.head_size),
    }
    for key in CAPS:
        limit = opened.value_or(key, GEMMA2_HAS[key] if is_second else 0.0)
        config[key] = positive(limit, key) if is_second or limit else None
    return config
