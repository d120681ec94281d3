"""Equal texts are those that differ in white space alone."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.dedup.exact import first_of_each, normalised_digest


@pytest.mark.parametrize("other", ["Hello, world", " Hello,\n\n world\t", "Hello,\r\nworld", "Hello,   \t   world\n"])
def test_white_space_does_not_count(other: str) -> None:
    assert normalised_digest(other) == normalised_digest("Hello, world")


@pytest.mark.parametrize("other", ["hello, world", "Hello world", "Hello,world", "Hello, wor ld", ""])
def test_everything_else_counts(other: str) -> None:
    assert normalised_digest(other) != normalised_digest("Hello, world")


@given(
    st.text(st.characters(codec="utf-8", max_codepoint=0x2FF)),
    st.text(st.characters(codec="utf-8", max_codepoint=0x2FF)),
)
def test_as_the_words_of_bytes_split(one: str, other: str) -> None:
    same_words = one.encode().split() == other.encode().split()
    assert (normalised_digest(one) == normalised_digest(other)) == same_words


def test_first_of_each_points_at_the_first_equal_row() -> None:
    assert first_of_each(pa.array(["b", "a", "b", "c", "a", "b"])).tolist() == [0, 1, 0, 3, 1, 0]
