import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from privllm.tokens.best_fit import best_fit

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
