import csv

import pytest

from privllm.core.csv_limit import cells_up_to


def read(text: str) -> list[str]:
    return next(csv.reader([text]))


def test_larger_cells_are_taken_within_the_block_alone() -> None:
    text = "x" * 200_000
    with cells_up_to(300_000):
        assert read(text) == [text]
    with pytest.raises(csv.Error, match="larger than field limit"):
        read(text)


def test_it_is_as_before_where_something_fails() -> None:
    before = csv.field_size_limit()
    with pytest.raises(KeyError), cells_up_to(5):
        raise KeyError
    assert csv.field_size_limit() == before
