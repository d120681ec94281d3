"""Windows over a whole document, in which a model with a limited context scores every token of it once.

    stream     boundary, the document's tokens, boundary: the last one is scored too, since a model must know where to end
    window     `context` + 1 tokens of the stream at most, of which the first is only read

A model that reads one way gets windows that overlap by half, so that each token has at least half a context before it
where the document has that. One that reads both ways needs no overlap. A window of a document that needs several holds at
least half a context. It knows no model.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from privllm.core.special_tokens import SpecialIds

LONGEST = 2048  # tokens of a window, whatever the model could read: logits of more do not fit in memory


class Window(NamedTuple):
    """A part of a stream: tokens `begin` to `end`, of which those from `scored_from` on are scored here."""

    begin: int
    end: int
    scored_from: int


def stream_of(tokens: np.ndarray, special: SpecialIds) -> np.ndarray:
    """Return a document's tokens between two boundaries (int32)."""
    return np.concatenate([[special.begin], tokens, [special.end]]).astype(np.int32)


def windows(length: int, context: int, overlap: bool) -> Iterator[Window]:
    """Yield the windows of a stream of `length` tokens, in order; every token but the first is scored in exactly one."""
    context = min(context, LONGEST)
    stride = context // 2 if overlap else context
    begin, scored_from = 0, 1
    while scored_from < length:
        end = min(begin + context + 1, length)
        yield Window(begin, end, scored_from)
        scored_from = end
        begin = min(begin + stride, length - 1 - (context - context // 2))
