"""The n-gram model against the formula written out over dictionaries; its probabilities sum to 1 after any history."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.stats.kneser_ney import BEGIN, DISCOUNTS, UNKNOWN, KneserNey, discounts_of

SYMBOLS = 4
SEQUENCES = st.lists(st.lists(st.integers(1, SYMBOLS), max_size=12), min_size=1, max_size=5).filter(any)
HISTORIES = st.lists(st.integers(1, SYMBOLS + 1), max_size=5)


def arrays(sequences: list[list[int]]) -> list[np.ndarray]:
    return [np.array(sequence, np.int64) for sequence in sequences]


def plain_probability(sequences: list[list[int]], order: int, history: list[int], symbol: int, below: float) -> float:
    """The formula, gram by gram."""
    grams: list[Counter] = [Counter() for _ in range(order + 1)]
    for sequence in sequences:
        padded = [BEGIN] * (order - 1) + sequence
        for end in range(order, len(padded) + 1):
            grams[order][tuple(padded[end - order : end])] += 1
    for length in range(order - 1, 0, -1):
        for gram in grams[length + 1]:
            grams[length][gram[1:]] += 1
    padded = [BEGIN] * (order - 1) + history
    probability = below
    for length in range(1, order + 1):
        context = tuple(padded[len(padded) - length + 1 :])
        counts = grams[length]
        following = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
        if not following:
            continue
        discounts = discounts_of(np.array(list(counts.values())))
        kept_back = sum(min(discounts[min(count, 3)], count) for count in following.values())
        own = max(following.get(symbol, 0) - discounts[min(following.get(symbol, 0), 3)], 0)
        probability = (own + kept_back * probability) / sum(following.values())
    return probability


@settings(max_examples=150, deadline=None)
@given(SEQUENCES, HISTORIES, st.integers(1, 4))
def test_probabilities_are_those_of_the_formula(sequences: list[list[int]], history: list[int], order: int) -> None:
    model = KneserNey(arrays(sequences), order)
    below = np.linspace(0.1, 0.4, len(history))
    (found,) = model.probabilities(arrays([history]), [below])
    for place, symbol in enumerate(history):
        expected = plain_probability(sequences, order, history[:place], symbol, below[place])
        assert found[place] == pytest.approx(expected)


@settings(max_examples=150, deadline=None)
@given(SEQUENCES, HISTORIES, st.integers(1, 5))
def test_probabilities_of_all_symbols_sum_to_one(sequences: list[list[int]], history: list[int], order: int) -> None:
    """A fifth symbol, which training has not seen, has its share of what is kept back."""
    below = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    candidates = [[*history, symbol] for symbol in range(1, SYMBOLS + 2)]
    shares = [np.append(below[np.array(history, int) - 1], share) for share in below]
    found = KneserNey(arrays(sequences), order).probabilities(arrays(candidates), shares)
    assert sum(probabilities[-1] for probabilities in found) == pytest.approx(1)


def test_an_unknown_symbol_keeps_later_ones_from_no_level_but_their_own() -> None:
    model = KneserNey(arrays([[1, 2, 3, 1, 2, 3]]), 3)
    (found,) = model.probabilities(arrays([[1, UNKNOWN, 1, 2, 3]]), [np.full(5, 0.25)])
    (expected,) = model.probabilities(arrays([[SYMBOLS + 3, 1, 2, 3]]), [np.full(4, 0.25)])
    assert found[2:] == pytest.approx(expected[1:])
    assert 0 < found[1] < found[4]


def test_each_sequence_begins_anew() -> None:
    model = KneserNey(arrays([[1, 2], [1, 3], [2, 2, 1]]), 3)
    below = [np.full(2, 0.2), np.full(3, 0.2)]
    together = model.probabilities(arrays([[1, 2], [2, 1, 3]]), below)
    for sequence, shares, found in zip([[1, 2], [2, 1, 3]], below, together, strict=True):
        assert model.probabilities(arrays([sequence]), [shares])[0].tolist() == found.tolist()
    assert model.probabilities([], []) == []


def test_discounts_of_textbook_counts() -> None:
    """Chen and Goodman, equation 26, by hand: Y = 8 / (8 + 2 * 4) = 1 / 2."""
    counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 5])
    assert discounts_of(counts).tolist() == [0, 1 - 2 / 2 * 4 / 8, 2 - 3 / 2 * 2 / 4, 3 - 4 / 2 * 1 / 2]
    assert discounts_of(np.array([1, 1, 3])).tolist() == list(DISCOUNTS)


def test_a_symbol_that_never_follows_is_still_possible() -> None:
    """Where no count is 4, equation 26 would discount a count of 3 by all of it; where many are, by nothing."""
    assert discounts_of(np.repeat([1, 2, 3, 4], [1, 1, 1, 90])).tolist()[3] == 0.1
    model = KneserNey(arrays([[1, 2]] * 90 + [[3, 1]]), 2)
    (found,) = model.probabilities(arrays([[1, 3]]), [np.full(2, 0.25)])
    assert (found > 0).all()
