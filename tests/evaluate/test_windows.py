"""Windows: every token is scored once, and sees as much as was promised."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.special_tokens import own_ids
from privllm.evaluate.windows import LONGEST, stream_of, windows

LENGTHS, CONTEXTS = st.integers(2, 200), st.integers(2, 40)


@given(LENGTHS, CONTEXTS, st.booleans())
def test_every_token_but_the_first_is_scored_once_and_in_order(length: int, context: int, overlap: bool) -> None:
    scored = [place for window in windows(length, context, overlap) for place in range(window.scored_from, window.end)]
    assert scored == list(range(1, length))


@given(LENGTHS, CONTEXTS, st.booleans())
def test_a_window_fits_the_model_and_one_of_several_holds_half_a_context(
    length: int, context: int, overlap: bool
) -> None:
    made = list(windows(length, context, overlap))
    for window in made:
        assert 0 <= window.begin < window.scored_from < window.end <= length
        assert window.end - window.begin <= context + 1
        assert len(made) == 1 or window.end - window.begin - 1 >= context // 2


@given(LENGTHS, CONTEXTS)
def test_with_overlap_each_token_has_half_a_context_before_it_where_the_document_has(length: int, context: int) -> None:
    for window in windows(length, context, True):
        for place in range(window.scored_from, window.end):
            assert place - window.begin >= min(place, context // 2)


def test_a_model_with_a_long_context_gets_windows_that_fit_in_memory() -> None:
    assert max(window.end - window.begin for window in windows(3 * LONGEST, 100 * LONGEST, False)) == LONGEST + 1


@pytest.mark.parametrize(("overlap", "expected"), [(True, [0, 2, 4, 6]), (False, [0, 4, 7])])
def test_windows_of_ten_tokens(overlap: bool, expected: list[int]) -> None:
    assert [window.begin for window in windows(10, 4, overlap)] == expected


def test_a_stream_begins_and_ends_with_the_boundary() -> None:
    assert stream_of(np.array([5, 6]), replace(own_ids(9), begin=7, end=8)).tolist() == [7, 5, 6, 8]
