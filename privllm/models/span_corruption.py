"""Span corruption: the encoder reads a text with holes, the decoder writes what was in them (Raffel et al. 2020, section 3.1.4).

    tokens     the cat sat on the mat today           holes: "cat sat", "mat"
    inputs     the <0> on the <1> today
    labels     <0> cat sat <1> mat <end>

How many tokens are cut, and into how many spans, depends on the text's length alone, so that all rows that one text
fills give inputs of one length and labels of one length. Which ones, a random generator decides.
"""

import numpy as np

from privllm.core.special_tokens import SENTINELS, SpecialIds
from privllm.models.config import CorruptionConfig


def counts(cfg: CorruptionConfig, length: int) -> tuple[int, int]:
    """Return (tokens cut out, spans) of a row of `length` >= 2 tokens; at least one token is cut and one stays."""
    cut = min(max(1, round(length * cfg.density)), length - 1)
    spans = max(1, round(cut / cfg.mean_span))
    return cut, min(spans, SENTINELS, cut, length - cut)


def holes(cfg: CorruptionConfig, length: int, chance: np.random.Generator) -> list[tuple[int, int]]:
    """Return where the spans of a row of `length` tokens begin and end, in order.

    A row begins with text that stays, as in T5's own recipe.
    """
    cut, count = counts(cfg, length)
    span_lengths = _random_partition(cut, count, chance)
    text_lengths = _random_partition(length - cut, count, chance)
    spans = []
    end = 0
    for text_length, span_length in zip(text_lengths.tolist(), span_lengths.tolist(), strict=True):
        begin = end + text_length
        end = begin + span_length
        spans.append((begin, end))
    return spans


def cut_out(tokens: np.ndarray, spans: list[tuple[int, int]], special: SpecialIds) -> tuple[np.ndarray, np.ndarray]:
    """Return (inputs, labels), int64, of one row: lengths length - cut + spans, and cut + spans + 1."""
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    text_start = 0
    for number, (begin, end) in enumerate(spans):
        mark = np.array([special.sentinels[number]])
        inputs += [tokens[text_start:begin], mark]
        labels += [mark, tokens[begin:end]]
        text_start = end
    inputs.append(tokens[text_start:])
    labels.append(np.array([special.end]))
    return np.concatenate(inputs).astype(np.int64), np.concatenate(labels).astype(np.int64)


def _random_partition(total: int, count: int, chance: np.random.Generator) -> np.ndarray:
    """Return `count` positive numbers that add up to `total` (int64), all ways to do so equally likely."""
    if count == 1:
        return np.array([total], np.int64)
    boundaries = np.sort(chance.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], boundaries, [total]])).astype(np.int64)
