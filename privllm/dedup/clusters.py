"""Clusters of duplicates from pairs, and which document of a cluster is kept.

Union-find over whole arrays with numpy. Clusters are connected components, so two texts may share
one through a third; the result does not depend on the order of the pairs.
"""

import numpy as np
import pyarrow as pa

from privllm.core.records import CLUSTERS


class Clusters:
    """A partition of 0 ... n - 1 into clusters; the root of a cluster is its smallest member."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size)

    def roots_of(self, items: np.ndarray) -> np.ndarray:
        """Return the root of each item's cluster, int64."""
        roots = self._parent[items]
        while True:
            parents = self._parent[roots]
            if np.array_equal(parents, roots):
                break
            roots = parents
        self._parent[items] = roots
        return roots

    def roots(self) -> np.ndarray:
        """Return the root of every item's cluster, int64 (n,)."""
        return self.roots_of(np.arange(len(self._parent)))

    def are_apart(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return for each pair whether it lies in two clusters, bool."""
        return self.roots_of(left) != self.roots_of(right)

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        """Join the clusters of left[i] and right[i], for all i."""
        while len(left):
            left_roots, right_roots = self.roots_of(left), self.roots_of(right)
            low = np.minimum(left_roots, right_roots)
            high = np.maximum(left_roots, right_roots)
            # Where a root gets several parents at once, the smallest wins, and the other pairs are
            # joined in the next turn.
            np.minimum.at(self._parent, high, low)
            self._shorten_paths(high)
            is_apart = self.are_apart(left, right)
            left, right = left[is_apart], right[is_apart]

    def _shorten_paths(self, items: np.ndarray) -> None:
        """Halve the paths from `items` to their roots until they have one step."""
        while True:
            grandparents = self._parent[self._parent[items]]
            if np.array_equal(grandparents, self._parent[items]):
                return
            self._parent[items] = grandparents


def verdicts(ids: pa.Array, lengths: np.ndarray, exact: np.ndarray, roots: np.ndarray) -> pa.Table:
    """Return a row of CLUSTERS per document, sorted by id.

    The cluster is its smallest id; the reason is "", "exact" or "near".

    ids: sorted; exact: for each row the index of the first row with an equal text; roots: of the first row of its cluster.
    The longest text of a cluster is kept, of equally long ones that of the smallest id. A document is dropped as "exact"
    where a document that ranks before it has the same text, as "near" otherwise.
    """
    is_kept = _is_first_of_longest(lengths, roots)
    is_first_of_equals = _is_first_of_longest(lengths, exact)
    reason = np.where(is_kept, "", np.where(is_first_of_equals, "near", "exact"))
    cluster_ids = ids.take(pa.array(roots))
    columns = [ids, cluster_ids, pa.array(is_kept), pa.array(reason, pa.string())]
    return pa.table(columns, schema=CLUSTERS)


def _is_first_of_longest(lengths: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return for each row whether it is the first of the longest rows of its group, bool."""
    order = np.lexsort((-lengths, groups))  # stable, so equally long rows stay in order
    ranked_groups = groups[order]
    starts_group = np.ones(len(groups), bool)
    starts_group[1:] = ranked_groups[1:] != ranked_groups[:-1]
    is_first = np.zeros(len(groups), bool)
    is_first[order[starts_group]] = True
    return is_first
