"""What all training benchmarks share: one folder of text in three parts, one shape of model, one clock, bits per byte."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 256, 6, 4, 256, 4
FEEDFORWARD = 8 * WIDTH // 3
WARMUP = 50  # steps of the peers
CHOSEN_EVERY = 0.1  # of the seconds: how often the peers look at the validation text
PARTS = ("train", "validation", "held_out")
VALIDATION, HELD_OUT = 0.05, 0.10  # shares of the characters
VALIDATION_AT_MOST, HELD_OUT_AT_MOST = (
    60_000,
    200_000,
)  # characters, since what is measured must not take longer than training

NatsOf = Callable[[Tensor, Tensor], Tensor]  # the summed loss of labels y [rows, n] after inputs x [rows, n]


class Text(NamedTuple):
    ids: Tensor
    bytes: int  # of UTF-8


class Corpus(NamedTuple):
    train: Text
    validation: Text
    held_out: Text
    vocabulary: int


def split_lines(text: str) -> dict[str, str]:
    """Return the text in three parts, which end where lines do; held-out text comes last."""
    held_out = min(HELD_OUT_AT_MOST, int(len(text) * HELD_OUT))
    validation = min(VALIDATION_AT_MOST, int(len(text) * VALIDATION))
    second = text.index("\n", len(text) - held_out) + 1
    first = text.index("\n", len(text) - held_out - validation) + 1
    return dict(zip(PARTS, (text[:first], text[first:second], text[second:]), strict=True))


def load_corpus(folder: Path) -> Corpus:
    """Read the parts and tokenizer.json from `folder`, as `small_data` wrote them."""
    encoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = []
    for part in PARTS:
        text = (folder / f"{part}.txt").read_text("utf-8")
        texts.append(Text(torch.tensor(encoder.encode(text).ids), len(text.encode())))
    return Corpus(*texts, vocabulary=encoder.get_vocab_size())


@torch.no_grad()
def bits_per_byte(nats_of: NatsOf, text: Text) -> float:
    """Return the bits of a text's tokens in windows of `CONTEXT` without overlap, over its bytes."""
    inputs, labels = text.ids[:-1], text.ids[1:]
    whole = len(inputs) // CONTEXT * CONTEXT
    nats = 0.0
    windows = zip(
        inputs[:whole].view(-1, CONTEXT).split(BATCH), labels[:whole].view(-1, CONTEXT).split(BATCH), strict=True
    )
    for x, y in windows:
        nats += float(nats_of(x, y))
    if whole < len(inputs):
        nats += float(nats_of(inputs[None, whole:], labels[None, whole:]))
    return nats / math.log(2) / text.bytes


class Clock:
    """Seconds of training; what is measured on the way stands outside."""

    def __init__(self) -> None:
        self.started, self.paused = time.perf_counter(), 0.0

    def seconds(self) -> float:
        return time.perf_counter() - self.started - self.paused

    def outside(self, measure: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = measure()
        self.paused += time.perf_counter() - begun
        return result


class BestOf:
    """A peer's weights with the lowest bits per byte on the validation text, off the clock: it pays nothing for choosing."""

    def __init__(self, model: torch.nn.Module, nats_of: NatsOf, corpus: Corpus, clock: Clock, seconds: float) -> None:
        self.model, self.nats_of, self.corpus, self.clock, self.seconds = model, nats_of, corpus, clock, seconds
        self.best, self.weights, self.looks = math.inf, {}, 0

    def look(self) -> None:
        """Measure if that is due."""
        if self.clock.seconds() >= self.seconds * CHOSEN_EVERY * (self.looks + 1):
            self.clock.outside(self._measure)

    def _measure(self) -> None:
        self.looks += 1
        self.model.eval()
        found = bits_per_byte(self.nats_of, self.corpus.validation)
        self.model.train()
        if found < self.best:
            self.best = found
            self.weights = {name: weight.clone() for name, weight in self.model.state_dict().items()}

    def result(self) -> dict[str, float]:
        """Return the held-out figure of the better of the best and the last weights, and the validation figure that chose it."""
        self._measure()
        self.model.load_state_dict(self.weights)
        self.model.eval()
        return {
            "bpb": round(bits_per_byte(self.nats_of, self.corpus.held_out), 4),
            "validation_bpb": round(self.best, 4),
        }


def cosine(progress: float) -> float:
    """Return the factor of the learning rate after a share of the seconds: from 1 to a tenth."""
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
