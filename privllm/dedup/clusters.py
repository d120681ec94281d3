"""Who belongs together: clusters from pairs of duplicates, and who of a cluster stays.

Union-find over whole arrays with numpy. Clusters are connected components, so two texts may share one through a third;
the result does not depend on the order in which pairs come.
"""

import numpy as np
import pyarrow as pa

from privllm.core.records import CLUSTERS


class Clusters:
    """A partition of 0 ... n - 1; the name of a part is its smallest member."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size)

    def of(self, items: np.ndarray) -> np.ndarray:
        """The parts' names, int64, of some items."""
        found = self._parent[items]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                break
            found = above
        self._parent[items] = found
        return found

    def names(self) -> np.ndarray:
        """The part's name of every item, int64 (n,)."""
        return self.of(np.arange(len(self._parent)))

    def apart(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Which of the pairs lie in two parts, bool."""
        return self.of(left) != self.of(right)

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        """Make one part of the parts of left[i] and right[i], for all i."""
        while len(left):
            one, other = self.of(left), self.of(right)
            low, high = np.minimum(one, other), np.maximum(one, other)
            # Where several parts claim one, the smallest gets it now and the others in the next turn.
            np.minimum.at(self._parent, high, low)
            self._shorten(high)
            open_ = self.apart(left, right)
            left, right = left[open_], right[open_]

    def _shorten(self, items: np.ndarray) -> None:
        """Halve the way from `items` to their names until it is one step."""
        while True:
            above = self._parent[self._parent[items]]
            if np.array_equal(above, self._parent[items]):
                return
            self._parent[items] = above


def verdicts(ids: pa.Array, lengths: np.ndarray, exact: np.ndarray, names: np.ndarray) -> pa.Table:
    """One row of CLUSTERS per document: id, cluster (smallest id in it), kept, reason ("", exact, near); sorted by id.

    ids: sorted; exact, names: for each row the index of the first row of its group of equal texts, of its cluster.
    The longest text of a cluster is kept, of equally long ones that of the smallest id. A document is dropped as "exact"
    where one that ranks before it has the same text, as "near" otherwise.
    """
    kept, first = _best(lengths, names), _best(lengths, exact)
    reason = np.where(kept, "", np.where(first, "near", "exact"))
    return pa.table([ids, ids.take(pa.array(names)), pa.array(kept), pa.array(reason, pa.string())], schema=CLUSTERS)


def _best(lengths: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which rows are the first of the longest of their group, bool."""
    order = np.lexsort((-lengths, groups))  # stable, so equally long ones stay in order
    ranked = groups[order]
    best = np.zeros(len(groups), bool)
    best[order[np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)])]] = True
    return best
