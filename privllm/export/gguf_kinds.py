"""What an architecture asks for in a GGUF file beside names: values that llama.cpp computes by, and weights that it has otherwise.

llama.cpp has some settings of a model built in. A model with other ones is refused by name, for it would load there and write
something else.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from privllm.core.errors import UserError
from privllm.export.gguf_layout import COUNTS, EPSILON, PAIRED, TRANSPOSED, heads_of_pairs, paired

GEMMA = ("gemma2", "gemma3")
WINDOWS = {"gemma2": 2, "gemma3": 6}  # one block in so many looks back without a limit, the last of them
UNTURNED = 4  # one block in so many of SmolLM3 does not turn queries and keys by position, the last of them
ACTIVATIONS = dict.fromkeys(GEMMA, "gelu_pytorch_tanh") | {"gpt2": "gelu_new"}  # the others have silu
SLIDING, FULL = "sliding_attention", "full_attention"

Values = dict[str, str | bool | int | float]


def require_computable(config: Any, architecture: str, where: str) -> None:
    """Raise UserError where llama.cpp would compute something else than transformers."""
    activation = activation_of(config)
    expected = ACTIVATIONS.get(architecture, "silu")
    if activation != expected:
        raise UserError(
            f"{where} has the activation `{activation}`; llama.cpp computes this architecture with {expected}."
        )
    blocks = range(config.num_hidden_layers)
    if architecture in GEMMA:
        _require_gemma(config, architecture, where)
    if architecture == "smollm3":
        turned = [int((block + 1) % UNTURNED > 0) for block in blocks]
        _require_pattern("no_rope_layers", config.no_rope_layers, turned, where)
    if architecture == "gpt2" and (not config.scale_attn_weights or config.scale_attn_by_inverse_layer_idx):
        raise UserError(f"{where} scales its attention in a way that llama.cpp's gpt2 does not.")


def _require_gemma(config: Any, architecture: str, where: str) -> None:
    every = WINDOWS[architecture]
    windows = [SLIDING if (block + 1) % every else FULL for block in range(config.num_hidden_layers)]
    _require_pattern("layer_types", config.layer_types, windows, where)
    if config.query_pre_attn_scalar != config.head_dim:
        raise UserError(
            f"{where} has `query_pre_attn_scalar` {config.query_pre_attn_scalar}; llama.cpp scales by `head_dim`, {config.head_dim}."
        )
    if getattr(config, "use_bidirectional_attention", False):
        raise UserError(f"{where} sees text in both directions, which is not written as GGUF here.")
    if architecture == "gemma2" and not (config.attn_logit_softcapping and config.final_logit_softcapping):
        raise UserError(
            f"{where} has no limit of its logits (`*_logit_softcapping`), and llama.cpp's gemma2 always has."
        )
    if architecture == "gemma2" and not config.tie_word_embeddings:
        raise UserError(f"{where} has an output matrix of its own, which llama.cpp's gemma2 does not read.")


def _require_pattern(name: str, found: Sequence[Any], expected: Sequence[Any], where: str) -> None:
    if list(found) != list(expected):
        raise UserError(f"{where} has other `{name}` than llama.cpp, which has them built in for this architecture.")


def activation_of(config: Any) -> str:
    """Return the name of the function inside the blocks, whatever the configuration calls it."""
    for key in ("hidden_act", "hidden_activation", "activation_function"):
        if name := getattr(config, key, None):
            return str(name)
    return "none"


def key_heads_of(config: Any) -> int:
    """Return how many heads have keys of their own."""
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def counts_of(config: Any) -> dict[str, int]:
    """Return {GGUF's key behind the architecture: count}."""
    given = {
        "intermediate_size": getattr(config, "n_inner", None) or 4 * config.hidden_size,  # as GPT-2 has it
        "num_key_value_heads": config.num_attention_heads,
    }
    return {key: int(getattr(config, name, None) or given[name]) for key, name in COUNTS.items()}


def own_values(config: Any, architecture: str) -> Values:
    """Return what is no count and no rotation, by GGUF's key behind the architecture's name."""
    if architecture == "gpt2":
        return {"attention.layer_norm_epsilon": float(config.layer_norm_epsilon)}
    values: Values = {EPSILON: float(config.rms_norm_eps)}
    if architecture not in GEMMA:
        return values
    values["attention.sliding_window"] = int(config.sliding_window)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if limit := getattr(config, key, None):
            values[key] = float(limit)
    if near := config.rope_parameters.get(SLIDING):
        values["rope.freq_base_swa"] = float(near["rope_theta"])
    return values


def shape_there(shape: tuple[int, ...], name: str, architecture: str) -> tuple[int, ...]:
    """Return the shape of a weight in GGUF, of the name that it has there."""
    return shape[::-1] if _is_transposed(name, architecture) else shape


def _is_transposed(name: str, architecture: str) -> bool:
    return architecture == "gpt2" and name.endswith(".weight") and name.split(".")[-2] in TRANSPOSED


def as_llama_cpp_has_it(tensor: Tensor, name: str, architecture: str, heads: tuple[int, int]) -> Tensor:
    """Return the weight of this GGUF name with its numbers where, and as, llama.cpp wants them; `heads` are of queries and of keys."""
    if architecture in PAIRED:
        changed = heads_of_pairs(architecture, name, *heads)
        return paired(tensor, changed) if changed else tensor
    if architecture in GEMMA and name.endswith("norm.weight"):
        return tensor.float() + 1  # transformers adds it when it computes
    return tensor.T if _is_transposed(name, architecture) else tensor
