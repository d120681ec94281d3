"""Token losses summed by slice: by document, source, length, kind of file, part of speech and entity.

It opens no model. Which slices are weak, `weak_spots` computes.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from privllm.evaluate.scoring import ScoredPiece
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
        """Add tokens by the bytes and nats of each and whether it was guessed."""
        self.tokens += len(sizes)
        self.bytes += int(sizes.sum())
        self.nats += float(nats.sum())
        self.correct += int(correct.sum())

    def figures(self) -> dict[str, float]:
        """Return tokens, loss (mean nats), perplexity (e to the loss), bits per byte, and the share of tokens guessed.

        All are rounded to 6 digits.
        """
        assert self.bytes, "a slice without tokens has no figures"
        return {
            "tokens": self.tokens,
            "loss": round(self.nats / self.tokens, 6),
            "perplexity": round(math.exp(self.nats / self.tokens), 6),
            "bits_per_byte": round(self.nats / math.log(2) / self.bytes, 6),
            "accuracy": round(self.correct / self.tokens, 6),
        }


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    tallies = list(tallies)
    return Tally(
        tokens=sum(summand.tokens for summand in tallies),
        bytes=sum(summand.bytes for summand in tallies),
        nats=sum(summand.nats for summand in tallies),
        correct=sum(summand.correct for summand in tallies),
    )


class AnnotatedDocument(NamedTuple):
    """A held-out document with what is known of each of its tokens."""

    id: str
    source: str
    media_type: str
    tokens: np.ndarray  # ids of the whole document
    pos: np.ndarray  # part of speech of each
    entities: np.ndarray  # `annotation_alignment.entities` of each


# {(kind, name of a slice): {id of a document that has tokens in it: their sums}}
Cells = dict[tuple[str, str], dict[str, Tally]]


def tally(
    documents: Sequence[AnnotatedDocument],
    scored: Mapping[str, Sequence[ScoredPiece]],
    token_sizes: np.ndarray,
) -> Cells:
    """Return sums by slice and document, ("all", "all") among the slices. `token_sizes` are the bytes of each token id."""
    cells: Cells = defaultdict(lambda: defaultdict(Tally))
    for document in documents:
        slices = _slices_of_document(document, token_sizes)
        for piece in scored[document.id]:
            places = piece.places
            is_same = np.array_equal(document.tokens[places], piece.labels)
            assert is_same, f"the rows of document {document.id} are not its tokens"
            sizes = token_sizes[piece.labels]
            for key in slices:
                cells[key][document.id].add(sizes, piece.nats, piece.correct)
            for kind, names_of_tokens in (("by_pos", document.pos), ("by_entity", document.entities)):
                names = names_of_tokens[places]
                for name in np.unique(names.astype(str)):
                    is_inside = names == name
                    cell = cells[kind, str(name)][document.id]
                    cell.add(sizes[is_inside], piece.nats[is_inside], piece.correct[is_inside])
    return {key: dict(by_document) for key, by_document in cells.items()}


def _slices_of_document(document: AnnotatedDocument, token_sizes: np.ndarray) -> list[tuple[str, str]]:
    """Return the slices that all tokens of a document belong to."""
    document_bytes = int(token_sizes[document.tokens].sum())
    slices = [("all", "all"), ("by_media_type", document.media_type)]
    for kind, name in slices_of(document.source, document_bytes).items():
        slices.append((f"by_{kind}", name))
    return slices


def bootstrap_interval(nats: np.ndarray, sizes: np.ndarray, draws: int, seed: int) -> list[float]:
    """Return the 95 % interval [low, high] of bits per byte over documents drawn with replacement.

    It is a percentile bootstrap (Efron 1979).
    """
    drawn_nats, drawn_bytes = drawn_sums((nats, sizes), draws, seed)
    low, high = interval_of(drawn_nats / math.log(2) / drawn_bytes)
    return [round(low, 6), round(high, 6)]
