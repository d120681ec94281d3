"""Losses joined to what is known of each token: its document, that one's source and length, its part of speech, its entity.

No model here. What the sums say of the model's weak spots, `weak` works out.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from privllm.evaluate.scoring import Scored
from privllm.stats.bootstrap import drawn_sums, interval_of
from privllm.tokens.mixture import slices_of

KINDS = ("by_pos", "by_entity", "by_source", "by_length", "by_media_type")


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


def total(parts: Iterable[Tally]) -> Tally:
    """The tally of the whole."""
    columns = zip(*((part.tokens, part.bytes, part.nats, part.correct) for part in parts), strict=True)
    return Tally(*map(sum, columns))


class Document(NamedTuple):
    id: str
    source: str
    media_type: str
    tokens: np.ndarray  # ids of the whole document
    pos: np.ndarray  # part of speech of each
    entities: np.ndarray  # `alignment.entities` of each


Cells = dict[tuple[str, str], dict[str, Tally]]  # {(kind, name of a slice): {id of a document that has tokens in it: their sums}}


def tally(documents: Sequence[Document], scored: Mapping[str, Sequence[Scored]], sizes: np.ndarray) -> Cells:
    """Sums by slice and document, ("all", "all") among the slices. `sizes`: bytes of each token id."""
    cells: Cells = defaultdict(lambda: defaultdict(Tally))
    for document in documents:
        by_kind = slices_of(document.source, int(sizes[document.tokens].sum()))
        whole = [("all", "all"), ("by_media_type", document.media_type), *((f"by_{kind}", name) for kind, name in by_kind.items())]
        for piece in scored[document.id]:
            span = piece.places
            assert np.array_equal(document.tokens[span], piece.labels), f"the rows of document {document.id} are not its tokens"
            numbers = (sizes[piece.labels], piece.nats, piece.correct)
            for key in whole:
                cells[key][document.id].add(*numbers)
            for kind, names in (("by_pos", document.pos[span]), ("by_entity", document.entities[span])):
                for name in np.unique(names.astype(str)):
                    where = names == name
                    cells[kind, str(name)][document.id].add(*(column[where] for column in numbers))
    return {key: dict(by_document) for key, by_document in cells.items()}


def bootstrap_interval(nats: np.ndarray, sizes: np.ndarray, draws: int, seed: int) -> list[float]:
    """The 95 % interval [low, high] of bits per byte over documents drawn with replacement (percentile bootstrap, Efron 1979)."""
    drawn_nats, drawn_bytes = drawn_sums((nats, sizes), draws, seed)
    return [round(value, 6) for value in interval_of(drawn_nats / math.log(2) / drawn_bytes)]
