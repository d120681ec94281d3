from collections import Counter
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from privllm.train.data import Stream, rows_of_step, spread


def places(seed: int, batch_size: int, rows: int, count: int) -> list[int]:
    steps = -(-count // batch_size)
    return [int(row) for step in range(steps) for row in rows_of_step(seed, step, batch_size, rows)][:count]


@given(st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 30))
def test_every_epoch_has_every_row_once(seed, batch_size, rows):
    order = places(seed, batch_size, rows, 3 * rows)
    for epoch in range(3):
        assert Counter(order[epoch * rows : (epoch + 1) * rows]) == Counter(range(rows))


@given(st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 30))
def test_the_order_does_not_depend_on_the_batch(seed, one, other, rows):
    assert places(seed, one, rows, 50) == places(seed, other, rows, 50)


def test_epochs_and_seeds_differ_and_the_global_generator_has_no_say():
    np.random.seed(0)
    order = places(0, 4, 50, 100)
    np.random.seed(1)
    assert order == places(0, 4, 50, 100)
    assert order[:50] != order[50:]
    assert order != places(1, 4, 50, 100)


def test_a_stream_goes_on_from_any_step_as_if_it_had_never_stopped():
    whole = list(islice(Stream(lambda step: (step,), lambda: 0), 20))
    assert list(islice(Stream(lambda step: (step,), lambda: 13), 7)) == whole[13:]


@given(st.integers(1, 500), st.integers(1, 600))
def test_held_out_rows_are_spread_over_the_split(rows, limit):
    chosen = spread(rows, limit).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(rows, limit)
    assert chosen[0] == 0
    assert chosen[-1] < rows
