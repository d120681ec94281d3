"""Span corruption: the encoder reads a text with holes, the decoder writes what was in them (Raffel et al. 2020, section 3.1.4).

    tokens     the cat sat on the mat today           holes: "cat sat", "mat"
    inputs     the <0> on the <1> today
    labels     <0> cat sat <1> mat <end>

How many tokens are cut, and into how many spans, depends on the row's length alone, so that all full rows give inputs of one
length and labels of one length and nothing is padded. Which ones, a generator decides.
"""

import numpy as np

from privllm.core.special_tokens import END_OF_TEXT
from privllm.models.config import CorruptionConfig
from privllm.models.seq2seq import SENTINELS, sentinel


def counts(cfg: CorruptionConfig, length: int) -> tuple[int, int]:
    """(tokens cut out, spans) of a row of `length` >= 2 tokens; at least one is cut and one is left."""
    cut = min(max(1, round(length * cfg.density)), length - 1)
    return cut, min(max(1, round(cut / cfg.mean_span)), SENTINELS, cut, length - cut)


def holes(cfg: CorruptionConfig, length: int, chance: np.random.Generator) -> list[tuple[int, int]]:
    """Where the spans of a row of `length` tokens begin and end, in order. A row begins with text that stays, as in T5's own recipe."""
    cut, spans = counts(cfg, length)
    sizes, kept = _parts(cut, spans, chance), _parts(length - cut, spans, chance)
    begins = np.cumsum(kept + np.concatenate([[0], sizes[:-1]]))
    return [(int(begin), int(begin + size)) for begin, size in zip(begins, sizes, strict=True)]


def cut_out(tokens: np.ndarray, spans: list[tuple[int, int]], vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, labels), int64, of one row: lengths length - cut + spans, and cut + spans + 1."""
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    place = 0
    for number, (begin, end) in enumerate(spans):
        mark = np.array([sentinel(vocabulary, number)])
        inputs += [tokens[place:begin], mark]
        labels += [mark, tokens[begin:end]]
        place = end
    return np.concatenate([*inputs, tokens[place:]]).astype(np.int64), np.concatenate([*labels, [END_OF_TEXT]]).astype(np.int64)


def _parts(total: int, parts: int, chance: np.random.Generator) -> np.ndarray:
    """`parts` positive numbers that add up to `total`, all ways to do so equally likely."""
    places = np.sort(chance.choice(total - 1, parts - 1, replace=False)) + 1 if parts > 1 else np.empty(0, np.int64)
    return np.diff(np.concatenate([[0], places, [total]])).astype(np.int64)
