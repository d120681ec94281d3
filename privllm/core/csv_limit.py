"""The size of a cell that the library `csv` takes, which it keeps for the whole process."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cells_up_to(size: int) -> Iterator[None]:
    """Take cells of `size` characters within the block, and what was taken before it afterwards."""
    before = csv.field_size_limit(size)
    try:
        yield
    finally:
        csv.field_size_limit(before)
