"""Token losses summed by slice: by document, source, length, kind of file, part of speech and entity.

It opens no model. Which slices are weak, `weak_spots` computes.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from privllm.evaluate.scoring import ScoredDocument
from privllm.tokens.mixture import slices_of

KINDS = ("by_pos", "by_entity", "by_source", "by_length", "by_media_type")
END = "end"  # part of speech and entity of the end of a document


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

    def figures(self, bits: str) -> dict[str, float]:
        """Return tokens, loss (mean nats), perplexity (e to the loss), bits per byte, and the share of tokens guessed.

        All are rounded to 6 digits. `bits` is what bits per byte are called (`core.families`).
        """
        assert self.bytes, "a slice without tokens has no figures"
        return {
            "tokens": self.tokens,
            "loss": round(self.nats / self.tokens, 6),
            "perplexity": round(math.exp(self.nats / self.tokens), 6),
            bits: round(self.nats / math.log(2) / self.bytes, 6),
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
    """A held-out document with what is known of each of its tokens, and of its end, which is the last entry."""

    id: str
    source: str
    media_type: str
    size: int  # bytes, UTF-8
    tokens: np.ndarray  # ids of the whole document, and the boundary
    sizes: np.ndarray  # bytes of each; 0 of the boundary
    pos: np.ndarray  # part of speech of each; END
    entities: np.ndarray  # `annotation_alignment.entities` of each; END
    clean: np.ndarray  # whether each lies outside of what was copied from training


# {(kind, name of a slice): {id of a document that has tokens in it: their sums}}
Cells = dict[tuple[str, str], dict[str, Tally]]


def tally(documents: Sequence[AnnotatedDocument], scored: Mapping[str, ScoredDocument], only_clean: bool) -> Cells:
    """Return sums by slice and document, ("all", "all") among the slices; with `only_clean` of what was not copied."""
    cells: Cells = defaultdict(lambda: defaultdict(Tally))
    for document in documents:
        scores = scored[document.id]
        is_same = np.array_equal(document.tokens[scores.places], scores.labels)
        assert is_same, f"what was scored of document {document.id} are not its tokens"
        counts = document.clean[scores.places] if only_clean else np.ones(len(scores.places), bool)
        places, nats, correct = scores.places[counts], scores.nats[counts], scores.correct[counts]
        if not len(places):
            continue
        sizes = document.sizes[places]
        for key in _slices_of_document(document):
            cells[key][document.id].add(sizes, nats, correct)
        for kind, names_of_tokens in (("by_pos", document.pos), ("by_entity", document.entities)):
            names = names_of_tokens[places]
            for name in np.unique(names.astype(str)):
                is_inside = names == name
                cells[kind, str(name)][document.id].add(sizes[is_inside], nats[is_inside], correct[is_inside])
    return {key: dict(by_document) for key, by_document in cells.items()}


def _slices_of_document(document: AnnotatedDocument) -> list[tuple[str, str]]:
    """Return the slices that all tokens of a document belong to."""
    slices = [("all", "all"), ("by_media_type", document.media_type)]
    for kind, name in slices_of(document.source, document.size).items():
        slices.append((f"by_{kind}", name))
    return slices
