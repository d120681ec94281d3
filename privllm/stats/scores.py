"""Scores of labels: accuracy, macro F1, span F1; and how sure a difference of two models is.

Every score is a ratio of sums over examples (`Score`), so a bootstrap can draw examples again without knowing which score it is.
Span F1 counts an entity as found when both its ends and its type are right (Tjong Kim Sang and De Meulder 2003, conlleval). It
knows no model and no text (`overlap`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privllm.core.bio_labels import OUTSIDE, as_bio
from privllm.core.seed import seed_of
from privllm.stats.bootstrap import drawn_sums, interval_of

DRAWS = 2000
Span = tuple[int, int, str]  # first token, one past the last, type


@dataclass(frozen=True)
class Score:
    """sum(over) / sum(under), of one example in each place."""

    over: np.ndarray
    under: np.ndarray

    @property
    def value(self) -> float:
        return ratio(self.over.sum(), self.under.sum())


def mean_of(values: Sequence[float] | np.ndarray) -> Score:
    """The mean of one figure per example."""
    return Score(np.asarray(values, np.float64), np.ones(len(values)))


def ratio(over: float, under: float) -> float:
    return float(over / under) if under else 0.0


def accuracy(expected: Sequence[str], given: Sequence[str]) -> Score:
    return mean_of([float(a == b) for a, b in zip(expected, given, strict=True)])


def macro_f1(expected: Sequence[str], given: Sequence[str]) -> float:
    """The mean F1 over the labels that occur on either side; a label never right counts 0."""
    scores = []
    for label in sorted({*expected, *given}):
        both = sum(a == b == label for a, b in zip(expected, given, strict=True))
        scores.append(ratio(2 * both, sum(a == label for a in expected) + sum(b == label for b in given)))
    return float(np.mean(scores))


def spans(labels: Sequence[str]) -> set[Span]:
    """The entities in BIO labels; an I- that continues nothing of its type begins one."""
    found: set[Span] = set()
    start, kind = 0, ""
    for place, label in enumerate((*as_bio(tuple(labels)), OUTSIDE)):
        if kind and not label.startswith("I-"):
            found.add((start, place, kind))
            kind = ""
        if label.startswith("B-"):
            start, kind = place, label[2:]
    return found


def span_f1(expected: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> Score:
    """Micro F1 over all entities: 2 * right / (expected + given)."""
    right, both = [], []
    for a, b in zip(map(spans, expected), map(spans, given), strict=True):
        right.append(2.0 * len(a & b))
        both.append(float(len(a) + len(b)))
    return Score(np.array(right), np.array(both))


def paired_interval(a: Score, b: Score, groups: Sequence[str], seed: int, draws: int = DRAWS) -> tuple[float, float]:
    """The 95 % interval of a.value - b.value over draws of the same examples for both (percentile bootstrap, Efron 1979).

    Groups are drawn, each with all its examples: passages of one page are not independent of each other (Cameron et al. 2008).
    """
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    sums = drawn_sums([np.bincount(places, weights=part) for part in (a.over, a.under, b.over, b.under)], draws, seed_of("bootstrap", seed))
    a_over, a_under, b_over, b_under = sums
    return interval_of(_ratios(a_over, a_under) - _ratios(b_over, b_under))


def _ratios(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.zeros_like(over), where=under != 0)
