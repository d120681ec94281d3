"""Losses joined to what is known of each token: its document, its source, its part of speech.

A token's part of speech is that of the annotated word which covers the token's first character that is no white space; a token of
white space only is "SPACE", one that no word covers "unannotated" (annotation has a budget: whole documents and the ends of long ones are
left out). Places are computed from the bytes of the tokens, so they hold inside
multi-byte characters too. No model here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

WHITE, UNCOVERED = "SPACE", "unannotated"


@dataclass
class Tally:
    """Sums over tokens; tallies of the parts of a whole add up to that of the whole."""

    tokens: int = 0
    bytes: int = 0
    nats: float = 0.0
    correct: int = 0

    def add(self, sizes: np.ndarray, nats: np.ndarray, correct: np.ndarray) -> None:
        """Count tokens, given each one's bytes, nats and whether it was guessed."""
        self.tokens += len(sizes)
        self.bytes += int(sizes.sum())
        self.nats += float(nats.sum())
        self.correct += int(correct.sum())

    def figures(self) -> dict[str, float]:
        """Tokens, perplexity (e to the mean nats), bits per UTF-8 byte, and the share of tokens guessed; rounded to 6 digits."""
        assert self.bytes, "a slice without tokens has no figures"
        return {
            "tokens": self.tokens,
            "perplexity": round(math.exp(self.nats / self.tokens), 6),
            "bits_per_byte": round(self.nats / math.log(2) / self.bytes, 6),
            "accuracy": round(self.correct / self.tokens, 6),
        }


def token_bytes(vocabulary: Mapping[str, int]) -> np.ndarray:
    """UTF-8 bytes of each token id: in a byte-level vocabulary every character of a token's name stands for one byte."""
    sizes = np.zeros(max(vocabulary.values()) + 1, np.int64)
    for name, index in vocabulary.items():
        sizes[index] = len(name)
    return sizes


def top_folder(source: str) -> str:
    """The first folder of a document's path; "." for a file that lies in none."""
    folder, slash, _ = source.partition("/")
    return folder if slash else "."


def parts_of_speech(text: str, sizes: np.ndarray, annotation: Mapping[str, list]) -> np.ndarray:
    """The part of speech (str [tokens]) of the tokens of `text`, whose bytes are `sizes`.

    `annotation` is a row of records.ANNOTATIONS (token_start, token_end in code points, pos), or {} for a document without one.
    """
    encoded = np.frombuffer(text.encode(), np.uint8)
    assert int(sizes.sum()) == len(encoded), f"tokens of {int(sizes.sum())} bytes for a text of {len(encoded)}"
    character = np.cumsum((encoded & 0xC0) != 0x80) - 1  # of each byte: continuation bytes belong to the one that led
    ends = np.cumsum(sizes)
    first, last = character[ends - sizes], character[ends - 1]
    black = _next_black(text)[first]
    tags = np.full(len(text) + 1, UNCOVERED, object)
    for begin, end, pos in zip(*(annotation.get(key, ()) for key in ("token_start", "token_end", "pos")), strict=True):
        tags[begin:end] = pos
    return np.where(black <= last, tags[np.minimum(black, len(text))], WHITE)


def _next_black(text: str) -> np.ndarray:
    """For each character, the place of the first one from it on that is no white space; len(text) where there is none."""
    places = np.array([len(text) if c.isspace() else i for i, c in enumerate(text)], np.int64)
    return np.minimum.accumulate(places[::-1])[::-1]


def bootstrap_interval(nats: np.ndarray, sizes: np.ndarray, draws: int, seed: int) -> list[float]:
    """The 95 % interval [low, high] of bits per byte over documents drawn with replacement (percentile bootstrap, Efron 1979)."""
    generator = np.random.default_rng(seed)
    values = np.empty(draws)
    for i in range(draws):
        drawn = generator.integers(0, len(nats), len(nats))
        values[i] = nats[drawn].sum() / math.log(2) / sizes[drawn].sum()
    return [round(float(value), 6) for value in np.quantile(values, [0.025, 0.975])]
