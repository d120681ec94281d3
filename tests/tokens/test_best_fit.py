import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.tokens.best_fit import best_fit, fill_gaps

CAPACITY = 12
SIZES = st.lists(st.integers(1, CAPACITY), max_size=40)


def obvious(sizes: list[int], capacity: int) -> list[list[int]]:
    """Look at every bin for every piece."""
    bins: list[list[int]] = []
    last_used: list[int] = []
    for time, index in enumerate(sorted(range(len(sizes)), key=lambda index: (-sizes[index], index))):
        fitting = []
        for number, pieces in enumerate(bins):
            space = capacity - sum(sizes[piece] for piece in pieces)
            if space >= sizes[index]:
                fitting.append((space, -last_used[number], number))
        if fitting:
            number = min(fitting)[2]
        else:
            number = len(bins)
            bins.append([])
            last_used.append(0)
        bins[number].append(index)
        last_used[number] = time
    return bins


@given(SIZES)
def test_bins_are_those_of_the_obvious_implementation(sizes: list[int]) -> None:
    assert best_fit(np.array(sizes, np.int64), CAPACITY) == obvious(sizes, CAPACITY)


@given(SIZES)
def test_each_piece_lies_in_one_bin_and_no_two_bins_would_fit_into_one(sizes: list[int]) -> None:
    bins = best_fit(np.array(sizes, np.int64), CAPACITY)
    assert sorted(index for pieces in bins for index in pieces) == list(range(len(sizes)))
    filled = sorted(sum(sizes[index] for index in pieces) for pieces in bins)
    assert all(fill <= CAPACITY for fill in filled)
    assert len(filled) < 2 or filled[0] + filled[1] > CAPACITY


def test_many_documents_of_many_lengths_fill_their_rows() -> None:
    sizes = np.random.default_rng(0).integers(1, 257, 5000)
    bins = best_fit(sizes, 256)
    assert len(bins) * 256 / sizes.sum() < 1.01


@given(SIZES, st.integers(0, 60))
def test_gaps_are_filled_as_far_as_that_saves_bins(sizes: list[int], allowed: int) -> None:
    whole = best_fit(np.array(sizes, np.int64), CAPACITY)
    bins = fill_gaps(whole, np.array(sizes, np.int64), CAPACITY, allowed)
    covered: dict[int, list[int]] = {index: [] for index in range(len(sizes))}
    for parts in bins:
        fill = sum(part.length for part in parts)
        assert 0 < fill <= CAPACITY
        for place, part in enumerate(parts):
            assert part.length > 0
            covered[part.piece] += range(part.begin, part.begin + part.length)
            goes_on = part.begin + part.length < sizes[part.piece]
            assert not goes_on or (place == len(parts) - 1 and fill == CAPACITY)
        assert len({part.piece for part in parts}) == len(parts)
    assert all(sorted(places) == list(range(sizes[index])) for index, places in covered.items())
    empty = len(bins) * CAPACITY - sum(sizes)
    assert empty <= allowed or empty < CAPACITY
    if len(whole) * CAPACITY - sum(sizes) <= allowed:
        assert [[part.piece for part in parts] for parts in bins] == whole


@pytest.mark.slow
def test_pieces_of_a_little_more_than_half_a_bin_do_not_waste_the_other_half() -> None:
    sizes = np.full(1000, 130)
    bins = fill_gaps(best_fit(sizes, 256), sizes, 256, allowed=2600)
    assert len(bins) * 256 / sizes.sum() < 1.021
