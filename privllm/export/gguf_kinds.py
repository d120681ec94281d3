"""What an architecture asks for in a GGUF file beside names: values that llama.cpp computes by, and weights that it has otherwise.

llama.cpp has some settings of a model built in. A model with other ones is refused by name, for it would load there and write
something else.
"""

from collections.abc import Sequence
from typing import Any

from privllm.core.errors import UserError
from privllm.export.gguf_layout import (
    COUNTS,
    EPSILON,
    EPSILONS,
    NEAR_BASE,
    OWN_NAMES,
    TRANSPOSED,
    Weights,
    halved,
    heads_of_pairs,
    paired,
)

GEMMA = ("gemma2", "gemma3")
WINDOWS = {"gemma2": 2, "gemma3": 6}  # one block in so many looks back without a limit, the last of them
LARGEST = {"gemma2": 46, "gemma3": 62}  # blocks of the one model (27B) whose attention llama.cpp scales otherwise
UNTURNED = 4  # one block in so many of SmolLM3 does not turn queries and keys by position, the last of them
# {architecture: (what config.json calls the function inside the blocks, its name)}
ACTIVATIONS = dict.fromkeys(GEMMA, ("hidden_activation", "gelu_pytorch_tanh")) | {
    "gpt2": ("activation_function", "gelu_new")
}
ACTIVATION = ("hidden_act", "silu")  # of the others
SLIDING, FULL = "sliding_attention", "full_attention"
WINDOW, CAPS = "attention.sliding_window", ("attn_logit_softcapping", "final_logit_softcapping")
ALWAYS_TIED = ("gemma2",)  # llama.cpp reads no output matrix of theirs

Values = dict[str, str | bool | int | float]


def require_computable(config: Any, architecture: str, where: str) -> None:
    """Raise UserError where llama.cpp would compute something else than transformers."""
    key, expected = ACTIVATIONS.get(architecture, ACTIVATION)
    activation = getattr(config, key, None) or "none"
    if activation != expected:
        raise UserError(
            f"{where} has the activation `{activation}`; llama.cpp computes this architecture with {expected}."
        )
    if architecture in GEMMA:
        _require_gemma(config, architecture, where)
    if architecture == "smollm3":
        _require_pattern("no_rope_layers", config.no_rope_layers, turned_blocks(config.num_hidden_layers), where)
    if architecture == "gpt2" and (not config.scale_attn_weights or config.scale_attn_by_inverse_layer_idx):
        raise UserError(f"{where} scales its attention in a way that llama.cpp's gpt2 does not.")


def _require_gemma(config: Any, architecture: str, where: str) -> None:
    _require_pattern("layer_types", config.layer_types, windows_of(architecture, config.num_hidden_layers), where)
    wide, heads, blocks = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    scalar = attention_scalar(architecture, blocks, wide // heads, config.head_dim)
    if config.query_pre_attn_scalar != scalar:
        raise UserError(
            f"{where} has `query_pre_attn_scalar` {config.query_pre_attn_scalar}; llama.cpp scales by {scalar} here."
        )
    near = config.rope_parameters.get(SLIDING) or {}
    if near.get("rope_type", "default") != "default":
        raise UserError(f"{where} has rotary positions of the kind `{near['rope_type']}` where it looks back less far.")
    if getattr(config, "use_bidirectional_attention", False):
        raise UserError(f"{where} sees text in both directions, which is not written as GGUF here.")
    if architecture == "gemma2" and not (config.attn_logit_softcapping and config.final_logit_softcapping):
        raise UserError(
            f"{where} has no limit of its logits (`*_logit_softcapping`), and llama.cpp's gemma2 always has."
        )
    if architecture in ALWAYS_TIED and not config.tie_word_embeddings:
        raise UserError(f"{where} has an output matrix of its own, which llama.cpp's {architecture} does not read.")


def _require_pattern(name: str, found: Sequence[Any], expected: Sequence[Any], where: str) -> None:
    if list(found) != list(expected):
        raise UserError(f"{where} has other `{name}` than llama.cpp, which has them built in for this architecture.")


def windows_of(architecture: str, blocks: int) -> list[str]:
    """Return how far each block of a Gemma looks back, as transformers names it."""
    every = WINDOWS[architecture]
    return [SLIDING if (block + 1) % every else FULL for block in range(blocks)]


def turned_blocks(blocks: int) -> list[int]:
    """Return 1 for each block of a SmolLM3 that turns queries and keys by position, and 0 for the others."""
    return [int((block + 1) % UNTURNED > 0) for block in range(blocks)]


def attention_scalar(architecture: str, blocks: int, share: int, head_size: int) -> int:
    """Return what llama.cpp divides a Gemma's attention by the root of; `share` is the width over the number of heads."""
    return share if blocks == LARGEST[architecture] else head_size


def key_heads_of(config: Any) -> int:
    """Return how many heads have keys of their own."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def counts_of(config: Any) -> dict[str, int]:
    """Return {GGUF's key behind the architecture: count}."""
    given = {"intermediate_size": 4 * config.hidden_size, "num_key_value_heads": config.num_attention_heads}
    own = OWN_NAMES.get(config.model_type, {})
    counts = {}
    for key, name in COUNTS.items():
        counts[key] = int(getattr(config, own.get(name, name), None) or given[name])
    return counts


def own_values(config: Any, architecture: str) -> Values:
    """Return what is no count and no rotation, by GGUF's key behind the architecture's name."""
    key, name = EPSILONS.get(architecture, EPSILON)
    values: Values = {key: float(getattr(config, name))}
    if architecture == "phi3":
        values[WINDOW] = int(config.sliding_window or 0)  # which llama.cpp reads, and does without
    if architecture not in GEMMA:
        return values
    values[WINDOW] = int(config.sliding_window)
    for key in CAPS:
        if limit := getattr(config, key, None):
            values[key] = float(limit)
    if near := config.rope_parameters.get(SLIDING):
        values[NEAR_BASE] = float(near["rope_theta"])
    return values


def shape_there(shape: tuple[int, ...], name: str, architecture: str) -> tuple[int, ...]:
    """Return the shape of a weight in GGUF, of the name that it has there."""
    return shape[::-1] if _is_transposed(name, architecture) else shape


def _is_transposed(name: str, architecture: str) -> bool:
    return architecture == "gpt2" and name.endswith(".weight") and name.split(".")[-2] in TRANSPOSED


def has_one_added(name: str, architecture: str) -> bool:
    """Return whether the weight of this GGUF name is one more there: transformers adds it when it computes."""
    return architecture in GEMMA and name.endswith("norm.weight")


def as_llama_cpp_has_it(weights: Weights, name: str, architecture: str, heads: tuple[int, int]) -> Weights:
    """Return the fp32 weight of this GGUF name with its numbers where, and as, llama.cpp wants them.

    `heads` are of queries and of keys.
    """
    if changed := heads_of_pairs(architecture, name, *heads):
        return paired(weights, changed)
    if has_one_added(name, architecture):
        return weights + 1
    return weights.T if _is_transposed(name, architecture) else weights


def as_transformers_has_it(weights: Weights, name: str, architecture: str, heads: tuple[int, int]) -> Weights:
    """Return a weight of a GGUF file as transformers wants it; it undoes `as_llama_cpp_has_it`."""
    if changed := heads_of_pairs(architecture, name, *heads):
        return halved(weights, changed)
    if has_one_added(name, architecture):
        return weights - 1
    return weights.T if _is_transposed(name, architecture) else weights
