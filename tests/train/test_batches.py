from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from privllm.tokens.rows import Run
from privllm.train.batches import Drawn, Kinds, held_out_indices, replayed, rows_of_step, shifts, spread


def places(seed: int, batch_size: int, rows: int, count: int) -> list[int]:
    steps = -(-count // batch_size)
    return [int(row) for step in range(steps) for row in rows_of_step(seed, step, batch_size, rows).rows][:count]


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


@given(st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1))
def test_replay_takes_its_share_of_every_beginning_and_each_kind_in_epochs(seed, batch_size, known, new, replay):
    rows = np.random.default_rng(seed).permutation(known + new)
    kinds = Kinds(np.sort(rows[:known]), np.sort(rows[known:]))
    steps = -(-3 * (known + new) // batch_size)
    order = [int(row) for step in range(steps) for row in replayed(seed, step, batch_size, kinds, replay).rows]
    if replay == 1:
        assert order == places(seed, batch_size, known + new, len(order))
        return
    is_known = np.isin(order, kinds.known)
    due = [n * round(replay * 1e6) // 1_000_000 for n in range(1, len(order) + 1)]
    assert np.cumsum(is_known).tolist() == due
    for kind, drawn in ((kinds.known, np.array(order)[is_known]), (kinds.new, np.array(order)[~is_known])):
        for epoch in range(len(drawn) // len(kind)):
            assert sorted(drawn[epoch * len(kind) : (epoch + 1) * len(kind)]) == kind.tolist()


@given(st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 30), st.floats(0, 1), st.booleans())
def test_with_rows_of_one_kind_all_are_alike(seed, batch_size, rows, replay, known):
    all_rows, none = np.arange(rows), np.arange(0)
    kinds = Kinds(all_rows, none) if known else Kinds(none, all_rows)
    order = [int(row) for step in range(9) for row in replayed(seed, step, batch_size, kinds, replay).rows]
    assert order == places(seed, batch_size, rows, len(order))


def test_the_replayed_order_is_a_function_of_seed_and_step_alone():
    kinds = Kinds(np.arange(0, 40, 2), np.arange(1, 40, 2))
    order = [replayed(3, step, 4, kinds, 0.25).rows.tolist() for step in range(12)]
    assert [replayed(3, step, 4, kinds, 0.25).rows.tolist() for step in reversed(range(12))] == order[::-1]
    assert [replayed(4, step, 4, kinds, 0.25).rows.tolist() for step in range(12)] != order
    wide = [row for step in range(4) for row in replayed(3, step, 12, kinds, 0.25).rows.tolist()]
    assert [row for batch in order for row in batch] == wide


@given(st.integers(1, 500), st.integers(1, 600))
def test_held_out_rows_are_spread_over_the_split(rows, limit):
    chosen = spread(rows, limit).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(rows, limit)
    assert chosen[0] == 0
    assert chosen[-1] < rows
    assert chosen == held_out_indices(rows, limit, rest=False).tolist()
    assert sorted(chosen + held_out_indices(rows, limit, rest=True).tolist()) == list(range(rows))


class FakeRows:
    """Rows 0 to 2 are a run, and rows 4 and 5."""

    row_length = 65

    def run_of(self, row):
        return {0: Run(0, False), 1: Run(0, False), 2: Run(0, True), 4: Run(4, False), 5: Run(4, True)}.get(row)


def test_a_run_is_cut_by_one_number_that_differs_from_epoch_to_epoch():
    def cuts_of(epoch, seed=5):
        return shifts(seed, Drawn(np.arange(7), np.full(7, epoch)), FakeRows()).tolist()

    cuts = [cuts_of(epoch) for epoch in range(6)]
    assert cuts[0] == [0] * 7  # as it was packed
    for epoch in cuts[1:]:
        first, other = epoch[0], epoch[4]
        assert epoch == [first, first, first, 0, other, other, 0]
        assert 0 <= first < 64
    assert len({tuple(epoch) for epoch in cuts}) == 6
    assert cuts[3] == cuts_of(3)
    assert cuts[3] != cuts_of(3, seed=6)
