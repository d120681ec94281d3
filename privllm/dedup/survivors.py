"""Survivors: which documents of each cluster are kept, and why the others are dropped.

The first of a cluster stays: one whose side of the split is recorded before a new one, the longer before the shorter, of
equally long ones that of the smallest id. What is not similar to it, because the cluster hangs together by a chain of
others, is asked again: the first of these stays too, until nobody is left. So nothing is dropped but for a document that
is like it. All survivors of a cluster share its name, and so its side of the split.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from privllm.core.records import CLUSTERS
from privllm.dedup.sides import BARRED, OTHER_SIDE

# (pairs, rows that may be asked for later) -> whether each pair is similar; both int64, (2, pairs) and (rows,)
AreNear = Callable[[np.ndarray, np.ndarray], np.ndarray]


def verdicts(
    ids: pa.Array,
    digests: pa.Array,
    lengths: np.ndarray,
    exact: np.ndarray,
    roots: np.ndarray,
    standing: np.ndarray,
    are_near: AreNear,
) -> pa.Table:
    """Return a row of CLUSTERS per document, sorted by id.

    The cluster is its smallest id; the reason is "", "exact", "near" or "other_side".

    ids: sorted; exact: for each row the index of the first row with an equal text; roots: of the first row of its cluster;
    standing: RECORDED, NEW or BARRED. A document is dropped as "exact" where a document that ranks before it has the same
    text, as "near" otherwise.
    """
    ranked = _ranked(roots, standing, lengths)
    is_kept = _survivors(ranked, exact, roots, are_near)
    by_text = _ranked(exact, standing, lengths)
    is_first_of_equals = np.zeros(len(ids), bool)
    is_first_of_equals[by_text[_starts_group(exact[by_text])]] = True
    reason = np.where(is_kept, "", np.where(is_first_of_equals, "near", "exact"))
    reason = np.where(standing == BARRED, OTHER_SIDE, reason)
    columns = [ids, digests, ids.take(pa.array(roots)), pa.array(is_kept), pa.array(reason, pa.string())]
    return pa.table(columns, schema=CLUSTERS)


def _ranked(groups: np.ndarray, standing: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the rows that may stay, group after group, each in the order in which survivors are sought, int64."""
    order = np.lexsort((-lengths, standing, groups))  # stable, so equally long rows stay in the order of their ids
    return order[standing[order] != BARRED]


def _survivors(ranked: np.ndarray, exact: np.ndarray, roots: np.ndarray, are_near: AreNear) -> np.ndarray:
    """Return for each row whether it is kept, bool."""
    is_kept = np.zeros(len(roots), bool)
    waiting, later = ranked, ranked[:0]
    while len(waiting):
        is_first = _starts_group(roots[waiting])
        firsts = waiting[is_first]
        is_kept[firsts] = True
        first_of_each = firsts[np.cumsum(is_first) - 1]
        others, survivors = waiting[~is_first], first_of_each[~is_first]
        is_like = exact[others] == exact[survivors]
        unequal = np.flatnonzero(~is_like)
        pairs = exact[np.stack([survivors[unequal], others[unequal]])]
        is_like[unequal] = are_near(pairs, exact[later])
        waiting = later = others[~is_like]
    return is_kept


def _starts_group(groups: np.ndarray) -> np.ndarray:
    """Return for each of some sorted numbers whether it differs from the one before, bool; True for the first."""
    starts = np.ones(len(groups), bool)
    starts[1:] = groups[1:] != groups[:-1]
    return starts
