"""Losses joined to what is known of each token: its document, its source, its part of speech.

No model here.
"""

import math
from dataclasses import dataclass

import numpy as np

from privllm.core.bootstrap import drawn_sums, interval_of


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
        """Tokens, loss (mean nats), perplexity (e to the loss), bits per byte, and the share of tokens guessed; rounded to 6 digits."""
        assert self.bytes, "a slice without tokens has no figures"
        return {
            "tokens": self.tokens,
            "loss": round(self.nats / self.tokens, 6),
            "perplexity": round(math.exp(self.nats / self.tokens), 6),
            "bits_per_byte": round(self.nats / math.log(2) / self.bytes, 6),
            "accuracy": round(self.correct / self.tokens, 6),
        }


def top_folder(source: str) -> str:
    """The first folder of a document's path; "." for a file that lies in none."""
    folder, slash, _ = source.partition("/")
    return folder if slash else "."


def bootstrap_interval(nats: np.ndarray, sizes: np.ndarray, draws: int, seed: int) -> list[float]:
    """The 95 % interval [low, high] of bits per byte over documents drawn with replacement (percentile bootstrap, Efron 1979)."""
    drawn_nats, drawn_bytes = drawn_sums((nats, sizes), draws, seed)
    return [round(value, 6) for value in interval_of(drawn_nats / math.log(2) / drawn_bytes)]
