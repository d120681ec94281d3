"""An n-gram model of sequences of symbols: interpolated modified Kneser-Ney (Chen and Goodman 1998, section 3).

    p_k(w | h) = max(c(h w) - D(c(h w)), 0) / c(h .) + gamma(h) p_{k-1}(w | h without its first symbol)

with three discounts D a level, estimated from the counts of counts. c counts occurrences at the highest level, and below it
the different symbols that precede (h w). Below the first level stands a distribution that the caller gives, so a symbol that was
never seen has a probability, too, and all of them sum to 1 after every history.

Grams are nodes of a tree: a gram of k symbols is (node of its first k - 1 symbols, last symbol). Nodes of a level are numbered in
sorted order, so a level is one sort, and a lookup a binary search.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BEGIN = 0  # stands before every sequence and is never predicted
UNKNOWN = -1  # a symbol, or a node, that training did not see
DISCOUNTS = (0.0, 0.5, 1.0, 1.5)  # of counts 0, 1, 2 and more, where too few were counted to estimate them

LEAST_DISCOUNTS = (0.0, 0.1, 0.1, 0.1)


class Level(NamedTuple):
    """Grams of one length, and what follows each shorter one; arrays by node."""

    keys: np.ndarray  # int64, ascending: node of the first symbols * symbols + last symbol
    discounted: np.ndarray  # float64: max(c - D(c), 0) of each gram
    totals: np.ndarray  # float64, of each node of the level below: the sum of c over what follows
    kept_back: np.ndarray  # float64, likewise: the sum of D(c) over what follows


class KneserNey:
    """What sequences of symbols teach about the next one; `order` is the length of the longest gram."""

    def __init__(self, sequences: Sequence[np.ndarray], order: int) -> None:
        """Count symbols, int64 from 1 on."""
        self.order = order
        stream, is_symbol = joined(sequences, order)
        self.symbols = int(stream.max(initial=BEGIN)) + 1
        self.levels: list[Level] = []
        nodes = [np.zeros(len(stream), np.int64)]  # at each place, the gram of k symbols that ends there
        keys, first_places = [], []
        for _ in range(order):
            level_keys, places, level_nodes = np.unique(
                _keys(nodes[-1], stream, self.symbols), return_index=True, return_inverse=True
            )
            keys.append(level_keys)
            first_places.append(places)
            nodes.append(level_nodes)
        for length in range(1, order + 1):
            level_nodes = nodes[length]
            if length == order:
                counted = level_nodes[is_symbol]
            else:
                places = first_places[length]  # of each longer gram, once
                counted = level_nodes[places[is_symbol[places]]]
            counts = np.bincount(counted, minlength=len(keys[length - 1]))
            parents = keys[length - 1] // self.symbols
            parent_count = len(keys[length - 2]) if length > 1 else 1
            self.levels.append(_level(keys[length - 1], counts, parents, parent_count))

    def probabilities(self, sequences: Sequence[np.ndarray], below: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the probability of each symbol (int64 from 1 on, or UNKNOWN) after those before it: float64.

        below: of each symbol, its probability in the distribution below the first level.
        """
        stream, is_symbol = joined(sequences, self.order)
        places = np.flatnonzero(is_symbol)
        probability = np.concatenate([np.zeros(0), *below])
        nodes = np.zeros(len(stream), np.int64)
        for level in self.levels:
            parents = np.concatenate([[UNKNOWN], nodes[:-1]]) if level is not self.levels[0] else nodes
            nodes = _find(level.keys, parents, stream, self.symbols)
            parent, node = parents[places], nodes[places]
            totals = np.where(parent == UNKNOWN, 0.0, level.totals[parent])
            is_known = totals > 0
            own = np.where(node == UNKNOWN, 0.0, level.discounted[node])
            mixed = own + level.kept_back[parent] * probability
            probability = np.where(is_known, mixed / np.where(is_known, totals, 1.0), probability)
        ends = np.cumsum([len(sequence) for sequence in sequences])
        return np.split(probability, ends)[: len(sequences)]


def joined(sequences: Sequence[np.ndarray], order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all sequences as one, each after `order - 1` times BEGIN, and which places are symbols: int64 and bool."""
    beginning = np.full(order - 1, BEGIN, np.int64)
    parts = []
    for sequence in sequences:
        parts += [beginning, np.asarray(sequence, np.int64)]
    stream = np.concatenate([np.zeros(0, np.int64), *parts])
    return stream, stream != BEGIN


def _keys(nodes: np.ndarray, stream: np.ndarray, symbols: int) -> np.ndarray:
    """Return a number for each place: the node that ends before it, and its symbol."""
    parents = np.concatenate([nodes[:1], nodes[:-1]])  # before the first place there is nothing but more BEGIN
    return parents * symbols + stream


def _find(keys: np.ndarray, parents: np.ndarray, stream: np.ndarray, symbols: int) -> np.ndarray:
    """Return the node of each place, int64; UNKNOWN where training did not see it."""
    wanted = parents * symbols + stream
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    is_seen = (keys[places] == wanted) & (parents != UNKNOWN) & (stream != UNKNOWN) & (stream < symbols)
    return np.where(is_seen, places, UNKNOWN)


def _level(keys: np.ndarray, counts: np.ndarray, parents: np.ndarray, parent_count: int) -> Level:
    discounts = discounts_of(counts)[np.minimum(counts, 3)]
    return Level(
        keys=keys,
        discounted=np.maximum(counts - discounts, 0.0),
        totals=np.bincount(parents, counts, parent_count),
        kept_back=np.bincount(parents, np.minimum(discounts, counts), parent_count),
    )


def discounts_of(counts: np.ndarray) -> np.ndarray:
    """Return the discounts of counts 0, 1, 2, and 3 or more (Chen and Goodman 1998, equation 26).

    Each is at most the count, and large enough to keep something back for what was not seen.
    """
    once, twice, thrice, four_times = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not once or not twice or not thrice:
        return np.array(DISCOUNTS)
    share = once / (once + 2 * twice)
    estimates = [0.0, 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four_times / thrice]
    return np.clip(estimates, LEAST_DISCOUNTS, [0.0, 1.0, 2.0, 3.0])
