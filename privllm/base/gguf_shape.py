"""How wide and how deep the model of a GGUF file is, and which weights of which shapes it must hold, no more and no less."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from privllm.base.gguf_file import Opened
from privllm.core.errors import UserError
from privllm.export.gguf_kinds import ALWAYS_TIED
from privllm.export.gguf_layout import (
    COUNTS,
    EMBEDDING,
    FACTORS,
    FREQUENCIES,
    HEAD_SIZES,
    OUTPUT,
    POSITIONS,
    required_names,
    tensor_names,
)

ONE_SIZE = ("phi3", "gpt2")  # their heads share the width of the model; config.json cannot say another width
PART_TURNED = ("phi3",)  # positions may turn a part of each head
MAY_HAVE_BIASES = ("llama", "qwen3")
ATTENTION, FEED_FORWARD = ("attn_q", "attn_k", "attn_v", "attn_output"), ("ffn_gate", "ffn_up", "ffn_down")


class Shape(NamedTuple):
    """The numbers that a model is built of."""

    counts: dict[str, int]  # by transformers' names
    head_size: int
    turned: int  # numbers of each head that positions turn
    attention_bias: bool
    mlp_bias: bool
    is_tied: bool  # the output matrix is the embedding

    @property
    def blocks(self) -> int:
        """Return how many blocks there are."""
        return self.counts["num_hidden_layers"]

    @property
    def heads(self) -> tuple[int, int]:
        """Return the number of heads of queries and of keys."""
        return self.counts["num_attention_heads"], self.counts["num_key_value_heads"]


def shape_of(opened: Opened) -> Shape:
    """Return the shape that the file says. Raises UserError where it lacks a number, or has one that is not known here."""
    counts = {}
    for key, name in COUNTS.items():
        if name not in ("vocab_size", "num_key_value_heads"):
            counts[name] = opened.count(key)
    counts["num_key_value_heads"] = opened.count("attention.head_count_kv", counts["num_attention_heads"])
    width, rows = (int(size) for size in opened.weights[EMBEDDING].shape)
    counts["vocab_size"] = rows
    if counts["num_hidden_layers"] > len(opened.weights):
        raise UserError(f"{opened.where} lacks the weights of most of its {counts['num_hidden_layers']:,} blocks.")
    empty = [key for key, name in COUNTS.items() if not counts[name]]
    if empty:
        raise UserError(f"{opened.where} says 0 for {opened.architecture}.{empty[0]}.")
    if width != counts["hidden_size"]:
        raise UserError(f"{opened.where} has rows of another length in {EMBEDDING} than it says.")
    head_size, turned = _head_sizes(opened, counts["hidden_size"] // counts["num_attention_heads"])
    may_have_biases = opened.architecture in MAY_HAVE_BIASES
    return Shape(
        counts,
        head_size,
        turned,
        may_have_biases and "blk.0.attn_q.bias" in opened.weights,
        opened.architecture == "llama" and "blk.0.ffn_up.bias" in opened.weights,
        _is_tied(opened),
    )


def _is_tied(opened: Opened) -> bool:
    """Return whether the output matrix is left out, or, as in older files of GPT-2, the embedding once more."""
    if OUTPUT not in opened.weights:
        return True
    output, embedding = opened.weights[OUTPUT], opened.weights[EMBEDDING]
    return output.tensor_type == embedding.tensor_type and np.array_equal(output.data, embedding.data)


def _head_sizes(opened: Opened, share: int) -> tuple[int, int]:
    """Return the width of a head, and how much of it positions turn; `share` is the width of the model over its heads."""
    keys, values, turns = HEAD_SIZES
    head_size = opened.count(keys, share)
    turned = opened.count(turns, head_size)
    turned_as_known = turned == head_size or opened.architecture in PART_TURNED
    if opened.count(values, head_size) != head_size or not turned_as_known:
        raise UserError(
            f"{opened.where} has heads of different sizes for keys, values and positions, which is not read here."
        )
    if not 0 < turned <= head_size:
        raise ValueError(f"positions turn {turned} numbers of {head_size}")
    if opened.architecture in ONE_SIZE and head_size != share:
        raise UserError(f"{opened.where} has heads of {head_size} numbers, where its width gives each {share}.")
    return head_size, turned


def require_weights(opened: Opened, shape: Shape) -> None:
    """Raise UserError unless the file holds the weights of a plain model of this shape, and no others."""
    expected = dict(_expected(opened, shape))
    strange = opened.weights.keys() - expected.keys() - {FREQUENCIES, *FACTORS}
    if strange:
        raise UserError(
            f"{opened.where} has the weight {min(strange)}, which a plain {opened.architecture} model does not."
        )
    for name, size in expected.items():
        if name == OUTPUT and name not in opened.weights:
            continue
        if name not in opened.weights:
            raise UserError(f"{opened.where} lacks the weight {name}: it is not whole.")
        found = tuple(int(length) for length in reversed(opened.weights[name].shape))
        if found != size:
            raise UserError(
                f"{opened.where} contradicts itself: {name} is {_times(found)} numbers, where a model as it says has {_times(size)}."
            )


def _expected(opened: Opened, shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (GGUF's name, [rows, columns] there) of the weights that the model has."""
    required = {ours for ours, _ in required_names(opened.architecture, shape.blocks)}
    with_bias = (*(ATTENTION if shape.attention_bias else ()), *(FEED_FORWARD if shape.mlp_bias else ()))
    for name, _ in tensor_names(opened.architecture, shape.blocks):
        part, kind = name.split(".")[-2:]
        is_output = name == OUTPUT and opened.architecture not in ALWAYS_TIED
        if name in required or is_output or (kind == "bias" and part in with_bias):
            size = _size(name, opened.architecture, shape)
            yield name, size[:1] if kind == "bias" else size


def _size(name: str, architecture: str, shape: Shape) -> tuple[int, ...]:
    """Return the numbers of rows and columns of a matrix, or how long a vector is."""
    counts, wide = shape.counts, shape.counts["hidden_size"]
    queries, keys = (heads * shape.head_size for heads in shape.heads)
    inner = counts["intermediate_size"]
    up = 2 * inner if architecture == "phi3" else inner  # with the gate above it
    outer = {
        EMBEDDING: (counts["vocab_size"], wide),
        OUTPUT: (counts["vocab_size"], wide),
        POSITIONS: (counts["max_position_embeddings"], wide),
    }
    normed_whole = architecture == "olmo2"  # queries and keys of all heads at once
    in_block = {
        "attn_q": (queries, wide),
        "attn_k": (keys, wide),
        "attn_v": (keys, wide),
        "attn_qkv": (queries + 2 * keys, wide),
        "attn_output": (wide, queries),
        "ffn_gate": (inner, wide),
        "ffn_up": (up, wide),
        "ffn_down": (wide, inner),
        "attn_q_norm": (queries if normed_whole else shape.head_size,),
        "attn_k_norm": (keys if normed_whole else shape.head_size,),
    }
    return outer.get(name) or in_block.get(name.split(".")[-2], (wide,))


def _times(size: tuple[int, ...]) -> str:
    return " x ".join(f"{length:,}" for length in size)
