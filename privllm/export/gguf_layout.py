"""What a GGUF file calls the numbers and the weights that a Hugging Face folder holds, for the architectures that we can write and read.

    config.json   num_hidden_layers                            qwen3.block_count
    safetensors   model.layers.0.self_attn.q_proj.weight       blk.0.attn_q.weight

Mistral's models are Llama's to llama.cpp. It rotates Llama's and SmolLM3's queries and keys by neighbouring pairs, where transformers pairs
the halves of a head, so their rows change places (`paired`, `halved`). Nothing is opened here.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from privllm.core.errors import UserError

ARCHITECTURES = {
    "qwen3": "qwen3",
    "qwen2": "qwen2",
    "llama": "llama",
    "mistral": "llama",
    "smollm3": "smollm3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "olmo2": "olmo2",
    "gpt2": "gpt2",
}  # {`model_type`: GGUF's name}
# {GGUF's name: `model_type`}, of which the first that has the name is what a file becomes
MODEL_TYPES = {architecture: kind for kind, architecture in reversed(ARCHITECTURES.items())}
COUNTS = {  # {GGUF's key behind the architecture: transformers'}
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}
OWN_NAMES = {  # {`model_type`: {transformers' name of a count: what config.json calls it}}
    "gpt2": {
        "max_position_embeddings": "n_positions",
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
    },
}
HEAD_SIZES = ("attention.key_length", "attention.value_length", "rope.dimension_count")  # all are `head_dim` here
EPSILON = ("attention.layer_norm_rms_epsilon", "rms_norm_eps")  # GGUF's name, and transformers'
EPSILONS = {"gpt2": ("attention.layer_norm_epsilon", "layer_norm_epsilon")}  # of those that have another
BASE, NEAR_BASE = "rope.freq_base", "rope.freq_base_swa"  # the second one of Gemma's blocks that look back less far
SCALING, ORIGINAL = "rope.scaling.", "rope.scaling.original_context_length"
FREQUENCIES = "rope_freqs.weight"  # Llama 3.1's factors of the rotary frequencies, which transformers computes
FACTORS = {
    "rope_factors_short.weight": "short_factor",
    "rope_factors_long.weight": "long_factor",
}  # of Phi 3's longrope
EMBEDDING, OUTPUT, POSITIONS = "token_embd.weight", "output.weight", "position_embd.weight"
OUTER = {EMBEDDING: "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", OUTPUT: "lm_head.weight"}
IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WITHOUT_NORMS = {ours: theirs for ours, theirs in IN_BLOCK.items() if not ours.endswith("norm")}
QUERY_NORMS = {name: IN_BLOCK[name] for name in ("attn_q_norm", "attn_k_norm")}
AROUND = {
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  # what a part returns
GEMMA = {"attn_norm": "input_layernorm", **WITHOUT_NORMS, "ffn_norm": "pre_feedforward_layernorm", **AROUND}
# {architecture: (names outside of blocks, names in a block)} of those that have others than IN_BLOCK, and no weight that may be left out
OTHERS = {
    "smollm3": (OUTER, {ours: theirs for ours, theirs in IN_BLOCK.items() if ours not in QUERY_NORMS}),
    "gemma2": (OUTER, GEMMA),
    "gemma3": (OUTER, GEMMA | QUERY_NORMS),
    "olmo2": (OUTER, WITHOUT_NORMS | QUERY_NORMS | AROUND),
    "phi3": (
        OUTER,
        {
            "attn_norm": "input_layernorm",
            "attn_qkv": "self_attn.qkv_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_norm": "post_attention_layernorm",
            "ffn_up": "mlp.gate_up_proj",
            "ffn_down": "mlp.down_proj",
        },
    ),
    "gpt2": (
        {
            EMBEDDING: "transformer.wte.weight",
            POSITIONS: "transformer.wpe.weight",
            "output_norm.weight": "transformer.ln_f.weight",
            "output_norm.bias": "transformer.ln_f.bias",
            OUTPUT: "lm_head.weight",
        },
        {
            "attn_norm": "ln_1",
            "attn_qkv": "attn.c_attn",
            "attn_output": "attn.c_proj",
            "ffn_norm": "ln_2",
            "ffn_up": "mlp.c_fc",
            "ffn_down": "mlp.c_proj",
        },
    ),
}
TRANSPOSED = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")  # matrices of GPT-2, which transformers has as [in, out]
PAIRED = ("llama", "smollm3")
Weights = TypeVar("Weights", bound=Any)  # an array of numpy, or a tensor


class Rotation(NamedTuple):
    """How positions turn queries and keys."""

    values: dict[str, str | int | float]  # by GGUF's key behind the architecture
    factors: np.ndarray | None = None  # [head_dim / 2], where each frequency has its own


def tensor_names(architecture: str, blocks: int) -> Iterator[tuple[str, str]]:
    """Yield (GGUF's name, transformers' name) of every weight that a model with so many blocks may have."""
    outer, in_block = OTHERS.get(architecture, (OUTER, IN_BLOCK))
    yield from outer.items()
    has_biases = architecture not in OTHERS or architecture == "gpt2"
    blocks_are = "transformer.h" if architecture == "gpt2" else "model.layers"
    for block in range(blocks):
        for ours, theirs in in_block.items():
            for kind in ("weight", "bias") if has_biases else ("weight",):
                yield f"blk.{block}.{ours}.{kind}", f"{blocks_are}.{block}.{theirs}.{kind}"


def required_names(architecture: str, blocks: int) -> Iterator[tuple[str, str]]:
    """Yield those of `tensor_names` without which a model is not whole: the output may be the embedding, and most have no biases."""
    for ours, theirs in tensor_names(architecture, blocks):
        if ours == OUTPUT:
            continue
        if architecture in OTHERS:
            yield ours, theirs
            continue
        if ours.endswith(("attn_q_norm.weight", "attn_k_norm.weight")) and architecture != "qwen3":
            continue
        bias_of_qwen2 = architecture == "qwen2" and ours.endswith(("attn_q.bias", "attn_k.bias", "attn_v.bias"))
        if ours.endswith(".bias") and not bias_of_qwen2:
            continue
        yield ours, theirs


def heads_of_pairs(architecture: str, name: str, heads: int, kv_heads: int) -> int:
    """Return the number of heads whose rows change places in the weight of this GGUF name; 0 where none do."""
    if architecture not in PAIRED:
        return 0
    part = name.split(".")[-2]
    return {"attn_q": heads, "attn_k": kv_heads}.get(part, 0)


def paired(weights: Weights, heads: int) -> Weights:
    """Return rows [heads * head_dim, ...] with the halves of each head interleaved, as llama.cpp wants them."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def halved(weights: Weights, heads: int) -> Weights:
    """Return rows [heads * head_dim, ...] as transformers wants them; it undoes `paired`."""
    shape = weights.shape
    return weights.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def rotation_of(config: Any, head_size: int, where: str) -> Rotation:
    """Return the rotary positions of transformers' configuration. Raises UserError for a kind that llama.cpp lacks."""
    rope = dict(getattr(config, "rope_parameters", None) or {})
    rope = dict(rope.get("full_attention", rope))  # where blocks that look back less far have others
    if not rope:  # positions are learnt
        return Rotation({})
    kind = rope.pop("rope_type", "default")
    base = float(rope.pop("rope_theta"))
    values: dict[str, str | int | float] = {BASE: base}
    if rope.pop("partial_rotary_factor", 1.0) != 1.0:
        raise UserError(f"{where} turns only a part of each head by position, which is not written as GGUF here.")
    if kind == "default":
        return Rotation(values)
    if kind == "llama3":
        return Rotation(values, llama3_factors(base, head_size, rope))
    if kind in ("linear", "yarn"):
        values |= {f"{SCALING}type": kind, f"{SCALING}factor": float(rope.pop("factor"))}
        original = rope.pop("original_max_position_embeddings", None)
        if original:
            values[ORIGINAL] = int(original)
        if not rope:
            return Rotation(values)
    others = f" with {', '.join(sorted(rope))}" if rope else ""
    raise UserError(f"{where} has rotary positions of the kind `{kind}`{others}, which is not written as GGUF here.")


def llama3_factors(base: float, head_size: int, rope: dict[str, Any]) -> np.ndarray:
    """Return what each rotary frequency [head_size / 2] is divided by (Llama 3.1, Meta 2024)."""
    frequencies = base ** (-np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    context = rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    turns = context * frequencies / (2 * math.pi)  # within the context that the model was first trained with
    share = np.clip((turns - low) / (high - low), 0, 1)  # of the frequency as it was
    return (1 / (share + (1 - share) / factor)).astype(np.float32)
