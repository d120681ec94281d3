"""Scores of labels: accuracy, macro F1, span F1.

Each score is a ratio of sums over examples (`Score`), so `difference` can draw examples again
whatever the score is. In span F1 an entity is correct when both its ends and its type are (Tjong
Kim Sang and De Meulder 2003, conlleval). Scores of texts are in `text_overlap`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privllm.core.bio_labels import OUTSIDE, as_bio

Span = tuple[int, int, str]  # first token, one past the last, type


@dataclass(frozen=True)
class Score:
    """A ratio of sums over examples, sum(over) / sum(under): both have a value for each example."""

    over: np.ndarray
    under: np.ndarray

    @property
    def value(self) -> float:
        return ratio(self.over.sum(), self.under.sum())


def mean_of(values: Sequence[float] | np.ndarray) -> Score:
    """Return the mean of one figure per example as a score."""
    return Score(np.asarray(values, np.float64), np.ones(len(values)))


def ratio(over: float, under: float) -> float:
    """Return over / under, 0 where `under` is 0."""
    return float(over / under) if under else 0.0


def ratios(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Return `ratio` element by element."""
    zeros = np.zeros_like(over)
    return np.divide(over, under, out=zeros, where=under != 0)


def accuracy(expected: Sequence[str], predicted: Sequence[str]) -> Score:
    """Return the share of labels that are equal."""
    is_correct = []
    for expected_label, predicted_label in zip(expected, predicted, strict=True):
        is_correct.append(float(expected_label == predicted_label))
    return mean_of(is_correct)


def macro_f1(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean F1 over the labels that occur on either side.

    A label that is never right counts 0.
    """
    correct: Counter[str] = Counter()
    for expected_label, predicted_label in zip(expected, predicted, strict=True):
        if expected_label == predicted_label:
            correct[expected_label] += 1
    occurrences = Counter(expected) + Counter(predicted)
    scores = []
    for label in sorted(occurrences):
        scores.append(ratio(2 * correct[label], occurrences[label]))
    return float(np.mean(scores))


def spans(labels: Sequence[str]) -> set[Span]:
    """Return the entities in BIO labels; an I- that continues nothing of its type begins one."""
    entities: set[Span] = set()
    start, kind = 0, ""
    for position, label in enumerate((*as_bio(tuple(labels)), OUTSIDE)):
        if kind and not label.startswith("I-"):
            entities.add((start, position, kind))
            kind = ""
        if label.startswith("B-"):
            start, kind = position, label[2:]
    return entities


def span_f1(expected: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Score:
    """Return the micro F1 over all entities, 2 * correct / (expected + predicted).

    Each example is a list of BIO labels.
    """
    twice_correct, occurrences = [], []
    for expected_labels, predicted_labels in zip(expected, predicted, strict=True):
        expected_spans, predicted_spans = spans(expected_labels), spans(predicted_labels)
        twice_correct.append(2.0 * len(expected_spans & predicted_spans))
        occurrences.append(float(len(expected_spans) + len(predicted_spans)))
    return Score(np.array(twice_correct), np.array(occurrences))
