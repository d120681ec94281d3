"""Survivors against a loop over one cluster at a time."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.records import CLUSTERS
from privllm.dedup.sides import BARRED, NEW, RECORDED
from privllm.dedup.survivors import verdicts

ROWS = 12


def all_near(pairs: np.ndarray, later: np.ndarray) -> np.ndarray:
    return np.ones(pairs.shape[1], bool)


def columns(count: int) -> tuple[pa.Array, pa.Array]:
    return pa.array([f"{i:02}" for i in range(count)]), pa.array([f"digest {i}" for i in range(count)])


def test_the_longest_stays_and_the_smallest_id_among_the_equally_long() -> None:
    lengths = np.array([3, 9, 9, 9, 4, 2])
    exact, roots = np.array([0, 1, 1, 3, 4, 4]), np.array([0, 0, 0, 0, 4, 4])
    table = verdicts(*columns(6), lengths, exact, roots, np.full(6, NEW), all_near)
    assert table.schema == CLUSTERS
    assert table["cluster"].to_pylist() == ["00", "00", "00", "00", "04", "04"]
    assert table["kept"].to_pylist() == [False, True, False, False, True, False]
    assert table["reason"].to_pylist() == ["near", "", "exact", "near", "", "exact"]


def test_a_recorded_one_stays_before_a_longer_one_and_a_barred_one_never() -> None:
    standing = np.array([NEW, RECORDED, BARRED, BARRED])
    zeros = np.zeros(4, np.int64)
    table = verdicts(*columns(4), np.array([9, 2, 20, 1]), np.array([0, 1, 2, 1]), zeros, standing, all_near)
    assert table["kept"].to_pylist() == [False, True, False, False]
    assert table["reason"].to_pylist() == ["near", "", "other_side", "other_side"]


def test_the_end_of_a_chain_stays_with_the_name_of_its_cluster() -> None:
    def neighbours_are_near(pairs: np.ndarray, later: np.ndarray) -> np.ndarray:
        return np.abs(pairs[0] - pairs[1]) <= 1

    zeros, order = np.zeros(5, np.int64), np.arange(5)
    table = verdicts(*columns(5), zeros, order, zeros, np.full(5, NEW), neighbours_are_near)
    assert table["kept"].to_pylist() == [True, False, True, False, True]
    assert set(table["cluster"].to_pylist()) == {"00"}


@given(st.data())
def test_as_a_loop_over_one_cluster_at_a_time(data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.integers(0, 5), min_size=ROWS, max_size=ROWS), "texts")
    exact = np.array([texts.index(text) for text in texts])
    root_of_text = {text: data.draw(st.integers(0, 2)) for text in range(6)}
    clusters = [root_of_text[text] for text in texts]
    roots = np.array([clusters.index(cluster) for cluster in clusters])
    lengths = np.array([4 + text % 2 for text in texts])
    standing = np.array(data.draw(st.lists(st.sampled_from([RECORDED, NEW, BARRED]), min_size=ROWS, max_size=ROWS)))
    near_texts = data.draw(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))), "near")

    def is_like(one: int, other: int) -> bool:
        pair = texts[one], texts[other]
        return pair[0] == pair[1] or pair in near_texts or pair[::-1] in near_texts

    def are_near(pairs: np.ndarray, later: np.ndarray) -> np.ndarray:
        return np.array([is_like(left, right) for left, right in pairs.T.tolist()], bool)

    expected: set[int] = set()
    for row in sorted(range(ROWS), key=lambda row: (standing[row], -lengths[row], row)):
        kept_of_cluster = [kept for kept in expected if roots[kept] == roots[row]]
        if standing[row] != BARRED and not any(is_like(row, kept) for kept in kept_of_cluster):
            expected.add(row)
    table = verdicts(*columns(ROWS), lengths, exact, roots, standing, are_near)
    assert set(np.flatnonzero(table["kept"].to_numpy()).tolist()) == expected
