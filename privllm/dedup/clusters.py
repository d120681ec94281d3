"""Clusters of duplicates from pairs.

Union-find over whole arrays with numpy. Clusters are connected components, so two texts may share
one through a third; the result does not depend on the order of the pairs.
"""

import numpy as np


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
