"""Scores against published values and slow, obvious versions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.stats.scores import Score, accuracy, macro_f1, mean_of, paired_interval, span_f1, spans

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

    found = set()
    for start, end in itertools.combinations(range(len(labels) + 1), 2):
        kind = labels[start][2:]
        inner = all(labels[i] == "I-" + kind for i in range(start + 1, end))
        ends = end == len(labels) or labels[end] != "I-" + kind
        if kind and begins(start) and inner and ends:
            found.add((start, end, kind))
    return found


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
    found = {(i, *span) for i, (_, b) in enumerate(pairs) for span in brute_spans(b)}
    right = len(expected & found)
    precision, recall = (right / len(side) if side else 0 for side in (found, expected))
    f1 = 2 * precision * recall / (precision + recall) if right else 0
    assert span_f1([a for a, _ in pairs], [b for _, b in pairs]).value == pytest.approx(f1)


def test_the_interval_of_a_difference_by_listing_all_draws() -> None:
    """Of three examples there are 27 equally likely draws: many random ones approach their quantiles."""
    a, b = np.array([1.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0])
    every = [np.mean(a[list(draw)] - b[list(draw)]) for draw in itertools.product(range(3), repeat=3)]
    interval = paired_interval(mean_of(a), mean_of(b), ["x", "y", "z"], seed=0, draws=20_000)
    assert interval == pytest.approx(tuple(np.quantile(every, [0.025, 0.975], method="inverted_cdf")))


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Normal differences of mean 0.3: about 95 of 100 intervals hold it."""
    generator, held = np.random.default_rng(0), 0
    for trial in range(200):
        a, b = generator.normal(0.3, 1, 60), generator.normal(0, 1, 60)
        low, high = paired_interval(mean_of(a), mean_of(b), [str(i) for i in range(60)], seed=trial, draws=300)
        held += low <= 0.3 <= high
    assert 0.89 <= held / 200 <= 0.98


def test_what_belongs_together_is_drawn_together() -> None:
    """Ten copies of each example say no more than one does."""
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    zeros = mean_of(np.zeros(30))
    one = paired_interval(mean_of(values), zeros, [str(i) for i in range(30)], seed=1)
    many = paired_interval(
        mean_of(np.repeat(values, 10)), mean_of(np.zeros(300)), [str(i // 10) for i in range(300)], seed=1
    )
    single = paired_interval(
        mean_of(np.repeat(values, 10)), mean_of(np.zeros(300)), [str(i) for i in range(300)], seed=1
    )
    assert many[1] - many[0] == pytest.approx(one[1] - one[0], rel=0.1)
    assert single[1] - single[0] < 0.5 * (one[1] - one[0])


def test_a_ratio_of_sums_is_no_mean_of_ratios() -> None:
    assert Score(np.array([1.0, 9.0]), np.array([1.0, 11.0])).value == pytest.approx(10 / 12)
    low, high = paired_interval(
        Score(np.array([2.0, 0.0]), np.array([4.0, 0.0])), Score(np.zeros(2), np.zeros(2)), ["a", "b"], seed=0
    )
    assert (low, high) == (0.0, 0.5)  # a draw without anything to find scores 0
