"""Clusters against a search through a graph, survivors against a loop."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from privllm.dedup.clusters import Clusters, verdicts

EDGES = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40)


def reachable(edges: list[tuple[int, int]], start: int) -> set[int]:
    reached, waiting = {start}, [start]
    while waiting:
        item = waiting.pop()
        for a, b in edges:
            for left, right in ((a, b), (b, a)):
                if left == item and right not in reached:
                    reached.add(right)
                    waiting.append(right)
    return reached


@given(EDGES, EDGES)
def test_names_are_the_smallest_that_can_be_reached(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    clusters = Clusters(20)
    for edges in (first, second):
        pairs = np.array(edges, np.int64).reshape(-1, 2).T
        clusters.join(pairs[0], pairs[1])
    assert clusters.roots().tolist() == [min(reachable(first + second, item)) for item in range(20)]


def test_a_long_chain_becomes_one() -> None:
    clusters = Clusters(100_000)
    order = np.random.default_rng(3).permutation(99_999)
    clusters.join(order, order + 1)
    assert not clusters.roots().any()
    assert not clusters.are_apart(np.array([5]), np.array([99_999])).any()


def test_the_longest_stays_and_the_smallest_id_among_the_equally_long() -> None:
    ids = pa.array(["a", "b", "c", "d", "e", "f"])
    lengths = np.array([3, 9, 9, 9, 4, 2])
    table = verdicts(ids, lengths, np.array([0, 1, 1, 3, 4, 4]), np.array([0, 0, 0, 0, 4, 4]))
    assert table["cluster"].to_pylist() == ["a", "a", "a", "a", "e", "e"]
    assert table["kept"].to_pylist() == [False, True, False, False, True, False]
    assert table["reason"].to_pylist() == ["near", "", "exact", "near", "", "exact"]
