"""How much memory a training will need, by arithmetic on the model's shape and the parameters of the training.

    weights + gradients + states of the optimiser + activations of one pass + logits of one chunk

Of processes that each hold a share of the model, the first three are divided, and what is outside the blocks and two of these are whole.

States of the parts by which tokens learn from each other (`spelling_parts`) are not counted: 8 bytes times the width for each part, of
which a vocabulary of 4,096 tokens has some 5,000.

`benchmarks/memory.py` measures the same by whole steps on fake tensors. It imports no torch, so that `privllm plan` can say it at once.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from privllm.models.config import LOGITS_AT_ONCE

GIB = 1 << 30
PROGRAM = 0.5 * GIB  # Python, torch and the rows that are read
FULL = 0.9  # of a card's memory, beyond which processes take a share of the model each
ROOM = {False: 6 * GIB, True: 24 * GIB}  # for activations of one pass, on a CPU and on a GPU
# Numbers that a block keeps of each position, in widths of the model and of its feed-forward part.
WIDTHS, INNER_WIDTHS = 16, 5
INNER_NAMES = ("intermediate_size", "d_ff", "n_inner", "hidden_dim")
LAYER_NAMES = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
WIDTH_NAMES = ("hidden_size", "d_model", "n_embd", "dim")
HEAD_NAMES = ("num_attention_heads", "num_heads", "n_head", "n_heads")


class Shape(NamedTuple):
    """What of a model decides how much memory it takes."""

    layers: int
    width: int
    inner: int  # of the feed-forward part
    attention: int  # query heads times their width
    keys: int  # key/value heads times their width
    embeddings: int  # weights
    vocabulary: int

    @property
    def matrices(self) -> int:
        """Return the weights inside blocks, which have a gated feed-forward part."""
        return self.layers * self.width * (2 * self.attention + 2 * self.keys + 3 * self.inner)

    @property
    def adapted(self) -> int:
        """Return the weights of adapters of rank 1 beside each matrix."""
        sides = 4 * self.width + 2 * self.attention + 2 * self.keys + 3 * (self.width + self.inner)
        return self.layers * sides


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """Return the shape that a Hugging Face config.json describes; None for one that does not say it."""
    config = {**config, **(config.get("text_config") or {})}
    layers, width, heads = (_first(config, names) for names in (LAYER_NAMES, WIDTH_NAMES, HEAD_NAMES))
    if not (layers and width and heads):
        return None
    layers += config.get("num_decoder_layers") or 0
    head = config.get("head_dim") or config.get("d_kv") or width // heads
    vocabulary = config.get("vocab_size") or 0
    return Shape(
        layers=layers,
        width=width,
        inner=_first(config, INNER_NAMES) or 4 * width,
        attention=heads * head,
        keys=(config.get("num_key_value_heads") or heads) * head,
        embeddings=vocabulary * width * (1 if config.get("tie_word_embeddings", True) else 2),
        vocabulary=vocabulary,
    )


def _first(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Return the first of the numbers that a configuration has, 0 for none."""
    for name in names:
        if config.get(name):
            return int(config[name])
    return 0


def bytes_of_position(shape: Shape, is_mixed: bool) -> int:
    """Return about how many bytes of activations all blocks keep of one position."""
    numbers = WIDTHS * shape.width + INNER_WIDTHS * shape.inner
    return shape.layers * numbers * (3 if is_mixed else 4)  # autocast keeps norms and residuals in fp32


class Way(NamedTuple):
    """How a model is trained."""

    weights: str  # 32, bf16 or nf4
    optimizer: str  # muon, adamw or adamw8
    rank: int  # of adapters; 0: all weights learn
    is_mixed: bool  # whether products are in bf16
    on_gpu: bool = False
    positions_at_once: int = 0
    recompute: str = "auto"
    shares: int = 1  # processes that each hold a share of the model


def is_cut(wanted: str, way: Way, need: int, card: int) -> bool:
    """Return whether processes hold a share of a model each, for a `train.strategy`; under "auto" where one card is too small for `need`.

    `card` is its bytes, 0 on a CPU.
    """
    if wanted != "auto":
        return wanted == "fsdp"
    return bool(card) and way.weights != "nf4" and need > FULL * card


def bytes_needed(shape: Shape, way: Way, rows: int, length: int) -> int:
    """Return about how many bytes a training takes at its peak, by steps of `rows` rows of `length` tokens."""
    standing = _standing(shape, way)
    if way.shares > 1:
        standing = standing / way.shares + _borrowed(shape, way)
    return round(PROGRAM + standing + _passing(shape, way, rows, length))


def _borrowed(shape: Shape, way: Way) -> float:
    """Return the bytes that a process with a share has of the others' at once: all outside the blocks, and two blocks."""
    dense = 4 if way.weights == "32" else 2
    of_block = 2 if way.is_mixed else dense
    gradients = 0 if way.rank else of_block + 4  # of a block, and in fp32 on their way to the others
    return dense * shape.embeddings + (2 * of_block + gradients) * shape.matrices / shape.layers


def _has_copies(way: Way) -> bool:
    """Return whether there are copies of the weights in bf16, for products."""
    return way.is_mixed and way.weights == "32"


def _standing(shape: Shape, way: Way) -> float:
    """Return the bytes of weights, gradients and states."""
    dense = 4 if way.weights == "32" else 2
    body = 0.5625 if way.weights == "nf4" and way.rank else dense  # four bits, and a scale in fp32 for each 64 weights
    held = body * shape.matrices + dense * shape.embeddings
    copies = 2 * (shape.matrices + shape.embeddings) if _has_copies(way) and way.shares == 1 else 0
    if way.rank:
        return held + copies + way.rank * shape.adapted * (4 + 4 + (2 if way.optimizer == "adamw8" else 8))
    of_matrices = {"muon": 4, "adamw": 8, "adamw8": 2.04}[way.optimizer]
    of_embeddings = 2.04 if way.optimizer == "adamw8" else 8
    states = of_matrices * shape.matrices + of_embeddings * shape.embeddings
    return held + copies + dense * (shape.matrices + shape.embeddings) + states


def _passing(shape: Shape, way: Way, rows: int, length: int) -> float:
    """Return the bytes of activations and logits of the largest pass."""
    each = bytes_of_position(shape, way.is_mixed)
    room = ROOM[way.on_gpu]
    at_once = way.positions_at_once or room // each
    positions = length * min(rows, max(1, at_once // length))
    activations: float = positions * each
    is_recomputed = way.recompute == "always" or (way.recompute == "auto" and activations > room)
    if is_recomputed:
        inputs_of_blocks = positions * shape.layers * shape.width
        activations = activations / shape.layers + inputs_of_blocks * (4 if way.weights == "32" else 2)
    return activations + 3 * 4 * min(
        positions * shape.vocabulary, LOGITS_AT_ONCE
    )  # logits, their exponentials, their gradient
