"""Scores against published values and slow, obvious versions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.stats.scores import Score, accuracy, macro_f1, span_f1, spans

LABELS = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=1, max_size=8)


def test_accuracy_and_macro_f1_by_hand() -> None:
    """scikit-learn's documented example of f1_score(average="macro"): 0.26..."""
    expected, given_ = list("012012"), list("021001")
    assert macro_f1(expected, given_) == pytest.approx(0.8 / 3)
    assert accuracy(expected, given_).value == pytest.approx(2 / 6)
    # A label that is only guessed counts too, with F1 0.
    assert macro_f1(["a", "a"], ["a", "b"]) == pytest.approx((2 / 3 + 0) / 2)


def test_span_f1_of_seqeval() -> None:
    """The example of seqeval's README: F1 0.5."""
    expected = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    given_ = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert span_f1(expected, given_).value == 0.5


def test_spans_read_what_has_no_beginning_as_conlleval_does() -> None:
    assert spans(["I-X", "I-X", "I-Y", "O", "B-Y", "B-Y", "I-X"]) == {
        (0, 2, "X"),
        (2, 3, "Y"),
        (4, 5, "Y"),
        (5, 6, "Y"),
        (6, 7, "X"),
    }
    assert spans(["O", "O"]) == set()
    assert span_f1([["O"]], [["O"]]).value == 0


def brute_spans(labels: list[str]) -> set[tuple[int, int, str]]:
    """Every stretch that is an entity by the rules: begins anew, goes on as I- of its type, and ends there."""

    def begins(i: int) -> bool:
        return labels[i][0] == "B" or (labels[i][0] == "I" and (i == 0 or labels[i - 1][2:] != labels[i][2:]))

    entities = set()
    for start, end in itertools.combinations(range(len(labels) + 1), 2):
        kind = labels[start][2:]
        inner = all(labels[i] == "I-" + kind for i in range(start + 1, end))
        ends = end == len(labels) or labels[end] != "I-" + kind
        if kind and begins(start) and inner and ends:
            entities.add((start, end, kind))
    return entities


@given(LABELS)
def test_spans_are_the_definition(labels: list[str]) -> None:
    assert spans(labels) == brute_spans(labels)


@given(
    st.lists(
        st.tuples(LABELS, LABELS).map(lambda pair: tuple(part[: min(map(len, pair))] for part in pair)),
        min_size=1,
        max_size=5,
    )
)
def test_span_f1_from_precision_and_recall(pairs: list[tuple[list[str], list[str]]]) -> None:
    expected = {(i, *span) for i, (a, _) in enumerate(pairs) for span in brute_spans(a)}
    predicted = {(i, *span) for i, (_, b) in enumerate(pairs) for span in brute_spans(b)}
    right = len(expected & predicted)
    precision, recall = (right / len(side) if side else 0 for side in (predicted, expected))
    f1 = 2 * precision * recall / (precision + recall) if right else 0
    assert span_f1([a for a, _ in pairs], [b for _, b in pairs]).value == pytest.approx(f1)


def test_a_ratio_of_sums_is_no_mean_of_ratios() -> None:
    assert Score(np.array([1.0, 9.0]), np.array([1.0, 11.0])).value == pytest.approx(10 / 12)
