"""Best-fit-decreasing bin packing: which pieces of documents share a row (Ding et al. 2024, arXiv 2404.10830).

The largest pieces are placed first, each where it leaves least. It uses 11/9 of the fewest possible bins at
most (Johnson 1973), and hardly any space stays empty where there are many small pieces. Where all are large (each a
little more than half a row, say), `fill_gaps` cuts some of them.
"""

import heapq
from collections import defaultdict
from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """The part of a piece that lies in one bin."""

    piece: int  # an index
    begin: int  # within the piece
    length: int


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


def fill_gaps(bins: list[list[int]], sizes: np.ndarray, capacity: int, allowed: int) -> list[list[Part]]:
    """Return bins that leave at most `allowed` empty where that can be, by cutting as few pieces as are needed.

    Bins are dissolved, the emptiest first, into the gaps of the others, the largest first. A part of a piece that goes
    on elsewhere fills its bin, so it is the last one there.
    """
    parts_of_bins = [[Part(index, 0, int(sizes[index])) for index in indices] for indices in bins]
    gaps = [capacity - sum(part.length for part in parts) for parts in parts_of_bins]
    empty = sum(gaps)
    emptiest_first = [(-gap, number) for number, gap in enumerate(gaps)]  # by gaps as they were
    heapq.heapify(emptiest_first)
    dissolved: set[int] = set()
    while empty > allowed and empty >= capacity and emptiest_first:
        _, donor = heapq.heappop(emptiest_first)
        dissolved.add(donor)
        empty -= capacity
        waiting = parts_of_bins[donor]
        parts_of_bins[donor] = []
        while waiting:
            part = waiting.pop()
            _, number = emptiest_first[0]
            length = min(part.length, gaps[number])
            parts_of_bins[number].append(part._replace(length=length))
            gaps[number] -= length
            if length < part.length:
                waiting.append(Part(part.piece, part.begin + length, part.length - length))
            if gaps[number]:
                heapq.heapreplace(emptiest_first, (-gaps[number], number))
            else:
                heapq.heappop(emptiest_first)
    return [parts for number, parts in enumerate(parts_of_bins) if number not in dissolved]
