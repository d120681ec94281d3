"""How positions turn queries and keys in a GGUF file, as `rope_parameters` of transformers.

default   a base alone
linear    positions are divided by a factor
yarn      (Peng et al. 2023) low frequencies are divided, high ones are not
llama3    the same by other bounds: the file holds a factor for each frequency, from which `factor` follows
longrope  (Ding et al. 2024) two lists of factors, of short and of long texts; Phi 3 alone has them
"""

import math
from typing import Any

import numpy as np

from privllm.base.gguf_file import Opened, as_written, positive
from privllm.base.gguf_shape import Shape
from privllm.core.errors import UserError
from privllm.export.gguf_kinds import FULL, SLIDING
from privllm.export.gguf_layout import BASE, FACTORS, FREQUENCIES, NEAR_BASE, ORIGINAL, SCALING, llama3_factors

THETA = 10_000.0  # where the file does not say it
# What Llama 3.1 and all after it have: `factor` differs, and the file holds only what follows from it.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
ATTENTION = f"{SCALING}attn_factor"
BOUNDS = {f"{SCALING}yarn_beta_fast": "beta_fast", f"{SCALING}yarn_beta_slow": "beta_slow"}
READ = {"linear": {f"{SCALING}factor"}, "yarn": {f"{SCALING}factor", *BOUNDS}, "longrope": {ATTENTION}}
OLD_FACTOR = "rope.scale_linear"
HARMLESS = {f"{SCALING}type", f"{SCALING}finetuned", ORIGINAL}  # of no effect by themselves
NEUTRAL = {  # what these are where they change nothing
    f"{SCALING}factor": 1.0,
    OLD_FACTOR: 1.0,
    ATTENTION: 1.0,
    f"{SCALING}yarn_ext_factor": 1.0,
    f"{SCALING}yarn_attn_factor": 1.0,
    f"{SCALING}yarn_log_multiplier": 0.0,
}


def rope_parameters(opened: Opened, shape: Shape) -> dict[str, Any]:
    """Return the rotary positions as transformers has them; {} where positions are learnt.

    Raises UserError for a kind that is not known here.
    """
    if opened.architecture == "gpt2":
        return {}
    kind = _kind(opened)
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": positive(opened.value_or(BASE, THETA), BASE)}
    _require_known(opened, kind)
    if kind == "llama3":
        rope |= _llama3(opened, rope["rope_theta"], shape.head_size)
    elif kind == "longrope":
        rope |= _longrope(opened, shape)
    elif kind != "default":
        rope |= _scaled(opened, kind)
    if shape.turned != shape.head_size:
        rope["partial_rotary_factor"] = _share(shape.turned, shape.head_size)
    if opened.architecture != "gemma3":
        return rope
    near = {"rope_type": "default", "rope_theta": positive(opened.value_or(NEAR_BASE, THETA), NEAR_BASE)}
    return {FULL: rope, SLIDING: near}


def _kind(opened: Opened) -> str:
    """Return transformers' name of the kind. Raises UserError for one that is not known, or that the architecture has not."""
    is_scaled = opened.value_or(f"{SCALING}factor", 1.0) != 1.0
    said = opened.value_or(f"{SCALING}type", "linear" if is_scaled else "none")
    found = set(FACTORS) & opened.weights.keys()
    kind = "default" if said == "none" else str(said)
    if said == "none" and FREQUENCIES in opened.weights:
        kind = "llama3"
    if said == "none" and found:
        kind = "longrope"
    is_phi3 = opened.architecture == "phi3"
    known = ("default", "longrope") if is_phi3 else ("default", "llama3", "linear", "yarn")
    if kind not in known:
        raise UserError(
            f"{opened.where} has rotary positions of the kind `{kind}`, which is not read here for {opened.architecture}."
        )
    factors = {"longrope": set(FACTORS), "llama3": {FREQUENCIES}}.get(kind, set())
    if {FREQUENCIES, *FACTORS} & opened.weights.keys() != factors:
        raise UserError(f"{opened.where} has factors of rotary frequencies that do not belong to the kind `{kind}`.")
    return kind


def _require_known(opened: Opened, kind: str) -> None:
    """Raise UserError for a value that scales positions in a way that transformers could not be told of."""
    prefix = f"{opened.architecture}."
    for whole, value in opened.values.items():
        key = whole.removeprefix(prefix)
        if not key.startswith((SCALING, OLD_FACTOR)) or key in HARMLESS | READ.get(kind, set()):
            continue
        if key not in NEUTRAL or value != NEUTRAL[key]:
            raise UserError(f"{opened.where} scales positions by {whole} = {value}, which is not read here.")


def _llama3(opened: Opened, base: float, head_size: int) -> dict[str, Any]:
    """Return the scaling from which the factors of the file follow. Raises UserError for other factors."""
    factors = np.array(opened.weights[FREQUENCIES].data)
    rope = LLAMA3 | {"factor": as_written(factors.max())}
    if len(factors) == head_size // 2 and np.allclose(llama3_factors(base, head_size, rope), factors, rtol=1e-3):
        return rope
    raise UserError(f"{opened.where} has factors of rotary frequencies other than Llama 3's, which is not read here.")


def _scaled(opened: Opened, kind: str) -> dict[str, Any]:
    """Return what `linear` and `yarn` have beside the base."""
    rope: dict[str, Any] = {"factor": positive(opened.value(f"{SCALING}factor"), "factor")}
    original = opened.count(ORIGINAL, 0)
    if kind == "yarn" and original:
        rope["original_max_position_embeddings"] = original
    for key, name in BOUNDS.items():
        bound = opened.value_or(key, None)
        if kind == "yarn" and bound is not None:
            rope[name] = positive(bound, key)
    return rope


def _longrope(opened: Opened, shape: Shape) -> dict[str, Any]:
    """Return the lists of factors, and that of the attention where it is not what transformers takes by itself."""
    original = opened.count(ORIGINAL)
    rope: dict[str, Any] = {"original_max_position_embeddings": original}
    for name, key in FACTORS.items():
        factors = [positive(factor, name) for factor in np.array(opened.weights[name].data).tolist()]
        if len(factors) != shape.turned // 2:
            raise ValueError(f"{name} holds {len(factors)} factors for {shape.turned} numbers")
        rope[key] = factors
    attention = positive(opened.value_or(ATTENTION, 1.0), ATTENTION)
    longer = shape.counts["max_position_embeddings"] / original
    usual = math.sqrt(1 + math.log(longer) / math.log(original)) if longer > 1 else 1.0
    if not math.isclose(attention, usual, rel_tol=1e-6):
        rope["attention_factor"] = attention
    return rope


def _share(turned: int, head_size: int) -> float:
    """Return the `partial_rotary_factor` by which transformers, rounding down, turns `turned` numbers of each head."""
    share = turned / head_size
    return share if int(head_size * share) == turned else math.nextafter(share, 1.0)
