"""What all training benchmarks share: one split, one shape of model, one clock, bits per byte on held-out lines."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from tokenizers import Tokenizer
from torch import Tensor

WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 256, 6, 4, 256, 4
SECONDS = 240.0  # for training, compilation included
CURVE_EVERY = 20.0  # seconds between points of the curve
CURVE_TOKENS = 20_000  # of held-out text, for the curve only

Result = TypeVar("Result")


class Corpus(NamedTuple):
    train: Tensor  # token ids
    held_out: Tensor
    held_out_bytes: int  # UTF-8
    vocabulary: int


def load_corpus(text: Path, tokenizer: Path) -> Corpus:
    """The last tenth of the lines is held out."""
    lines = text.read_text("utf-8", "replace").splitlines(keepends=True)
    cut = int(len(lines) * 0.9)
    encoder = Tokenizer.from_file(str(tokenizer))
    train, held_out = ("".join(part) for part in (lines[:cut], lines[cut:]))
    ids = [torch.tensor(encoder.encode(part).ids) for part in (train, held_out)]
    return Corpus(ids[0], ids[1], len(held_out.encode()), encoder.get_vocab_size())


@torch.no_grad()
def bits_per_byte(nats_of: Callable[[Tensor, Tensor], Tensor], corpus: Corpus, tokens: int | None = None) -> float:
    """`nats_of(x, y)` sums the loss of labels y [1, n]. Windows of `CONTEXT` without overlap; `tokens` limits how many."""
    ids = corpus.held_out[:tokens]
    nats = 0.0
    for start in range(0, len(ids) - 1, CONTEXT):
        window = ids[start : start + CONTEXT + 1]
        nats += float(nats_of(window[None, :-1], window[None, 1:]))
    return nats / math.log(2) / (corpus.held_out_bytes * len(ids) / len(corpus.held_out))


class Clock:
    """Seconds of training; what is measured on the way stands outside."""

    def __init__(self) -> None:
        self.started, self.paused, self.curve = time.perf_counter(), 0.0, []

    def seconds(self) -> float:
        return time.perf_counter() - self.started - self.paused

    def mark(self, nats_of: Callable[[Tensor, Tensor], Tensor], corpus: Corpus) -> None:
        """Adds a point to the curve whenever one is due."""
        if self.seconds() < CURVE_EVERY * (len(self.curve) + 1):
            return
        before = time.perf_counter()
        at = self.seconds()
        self.curve.append([round(at, 1), round(bits_per_byte(nats_of, corpus, CURVE_TOKENS), 4)])
        self.paused += time.perf_counter() - before
