"""Clusters against a search through a graph."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from privllm.dedup.clusters import Clusters

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
