"""Best-fit-decreasing bin packing: which pieces of documents share a row (Ding et al. 2024, arXiv 2404.10830).

The largest pieces are placed first, each where it leaves least. It uses 11/9 of the fewest possible bins at
most (Johnson 1973), and hardly any space stays empty where there are many small pieces.
"""

from collections import defaultdict

import numpy as np


def best_fit(sizes: np.ndarray, capacity: int) -> list[list[int]]:
    """Return the bins, in the order in which they were opened, as lists of indices into `sizes` (1 to `capacity`).

    Of equal pieces the first is placed first, and of bins with equal space the one that was used last takes it.
    """
    bins: list[list[int]] = []
    bins_by_space: dict[int, list[int]] = defaultdict(list)
    spaces = 0  # bit n is set where a bin has space for n more: the least space that suffices is one shift away
    largest_first = np.argsort(-sizes, kind="stable")
    for index, size in zip(largest_first.tolist(), sizes[largest_first].tolist(), strict=True):
        sufficient = spaces >> size
        if sufficient:
            lowest_bit = sufficient & -sufficient
            space = size + lowest_bit.bit_length() - 1
            number = bins_by_space[space].pop()
            if not bins_by_space[space]:
                spaces ^= 1 << space
        else:
            space = capacity
            number = len(bins)
            bins.append([])
        bins[number].append(index)
        space_left = space - size
        if space_left:
            bins_by_space[space_left].append(number)
            spaces |= 1 << space_left
    return bins
