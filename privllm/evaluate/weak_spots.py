"""Weak spots: slices of the held-out text that cost the model more than the rest does, by more than the choice of documents explains.

    source, length     bits per byte of a slice of documents, against all other documents
    pos, entity        nats per token of a slice of words, against all other annotated words

Some forty slices are compared, so intervals of 95 % each would name one or two slices of any model. These intervals are
simultaneous: with 95 % certainty all of them hold. The deviations of all slices are taken in the same draws of
documents, and the band is as wide as the largest deviation needs, in standard errors (single-step max-t; Westfall &
Young 1993). That needs no tail of a thousandth, which a thousand draws do not have, and slices that overlap are not
counted twice, as Bonferroni would. A standard error of few documents is itself uncertain: the band is widened by the
first term of Student's t for as many documents as a slice is worth (Kish 1965: one long document does not make it many).

A slice may be costly because it is hard for any model (names, numbers): a weak spot is where to look, not what is wrong.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from privllm.evaluate.slices import END, Cells, Tally
from privllm.stats.bootstrap import drawn_sums
from privllm.tokens.annotation_alignment import OUTSIDE, UNCOVERED, WHITE

UNITS = {"source": "bits per byte", "length": "bits per byte", "pos": "nats per token", "entity": "nats per token"}
NO_WORD = {UNCOVERED, WHITE, END}  # of these slices nothing is compared
LEAST = 6  # documents that a slice, and the rest, must be worth
WORST = 10  # weak spots that are named
CERTAINTY = 0.95
DIGITS = 6


class Slice(NamedTuple):
    """A slice and the tokens that it is compared with: the cost and the number of units in each document (float64 [D])."""

    kind: str
    name: str
    cost: np.ndarray
    units: np.ndarray
    rest_cost: np.ndarray
    rest_units: np.ndarray
    tokens: int

    def worth(self) -> float:
        """Return how many equally long documents the smaller side is worth."""
        return min(_effective(self.units), _effective(self.rest_units))


def weak_spots(cells: Cells, draws: int, seed: int) -> tuple[list[dict[str, Any]], int]:
    """Return the WORST slices whose `excess` lies above 0 with its whole interval, and how many slices were compared.

    Worst is what costs the most relative to the rest (`ratio`, which can be compared between units).
    """
    compared = [candidate for candidate in slices(cells) if candidate.worth() >= LEAST]
    if not compared or draws <= 1:
        return [], 0
    excesses, intervals = _bands(compared, draws, seed)
    spots = []
    for candidate, excess, (low, high) in zip(compared, excesses, intervals, strict=True):
        if round(low, DIGITS) > 0:
            spots.append(_spot(candidate, excess, (low, high)))
    spots.sort(key=lambda spot: (-spot["ratio"], spot["kind"], spot["slice"]))
    return spots[:WORST], len(compared)


def _spot(weak: Slice, excess: float, interval: tuple[float, float]) -> dict[str, Any]:
    """Return a weak slice as it stands in the report."""
    cost_of_rest = weak.rest_cost.sum() / weak.rest_units.sum()
    return {
        "kind": weak.kind,
        "slice": weak.name,
        "unit": UNITS[weak.kind],
        "documents": int((weak.units > 0).sum()),
        "tokens": weak.tokens,
        "excess": np.round(excess, DIGITS).tolist(),
        "interval": np.round(interval, DIGITS).tolist(),
        "ratio": np.round(1 + excess / cost_of_rest, DIGITS).tolist(),
    }


def slices(cells: Cells) -> Iterable[Slice]:
    """Yield every slice that can be compared with a rest."""
    ids = list(cells.get(("all", "all"), {}))
    for kind, unit in UNITS.items():
        cells_of_kind = _cells_of(kind, cells)
        sums = {name: _columns(cell, ids, unit) for name, cell in cells_of_kind.items()}
        for name, (cost, units) in sums.items():
            if name == OUTSIDE:
                continue
            sums_of_rest = np.zeros((2, len(ids)))
            for rest_name, rest_sums in sums.items():
                if rest_name != name:
                    sums_of_rest += rest_sums
            rest_cost, rest_units = sums_of_rest
            tokens = sum(tally.tokens for tally in cells_of_kind[name].values())
            yield Slice(kind, name, cost, units, rest_cost, rest_units, tokens)


def _cells_of(kind: str, cells: Cells) -> dict[str, dict[str, Tally]]:
    """Return {slice: sums by document} of the slices of a kind that hold words, sorted by name."""
    of_kind = {}
    for (cell_kind, name), cell in sorted(cells.items()):
        if cell_kind == f"by_{kind}" and name not in NO_WORD:
            of_kind[name] = cell
    return of_kind


def _columns(cell: dict[str, Tally], ids: list[str], unit: str) -> np.ndarray:
    """Return cost and units of each document: float64 [2, D]."""
    tallies = [cell.get(identifier, Tally()) for identifier in ids]
    if unit == "bits per byte":
        cost = [tally.nats / math.log(2) for tally in tallies]
        units = [tally.bytes for tally in tallies]
    else:
        cost = [tally.nats for tally in tallies]
        units = [tally.tokens for tally in tallies]
    return np.array([cost, units], float)


def _effective(units: np.ndarray) -> float:
    """Return how many documents of equal length these are worth (Kish's effective sample size)."""
    if not units.any():
        return 0.0
    return float(units.sum() ** 2 / (units**2).sum())


def _bands(compared: list[Slice], draws: int, seed: int) -> tuple[list[float], list[tuple[float, float]]]:
    """Return the excess of each slice, and its simultaneous interval."""
    columns_by_slice = [(side.cost, side.units, side.rest_cost, side.rest_units) for side in compared]
    columns = np.stack(columns_by_slice, axis=1)  # [4, slices, D]
    flat = [*columns.reshape(-1, columns.shape[-1])]
    sums_of_draws = drawn_sums(flat, draws, seed).reshape(4, len(compared), draws)
    excess = _excess(columns.sum(axis=2))
    excess_of_draws = _excess(sums_of_draws)
    errors = np.nanstd(excess_of_draws, axis=1, ddof=1)  # a draw without any document of the slice does not count
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.abs(excess_of_draws - excess[:, None]) / errors[:, None]
    largest_of_draws = np.nan_to_num(deviations, posinf=0.0).max(axis=0)
    width = float(np.quantile(largest_of_draws, CERTAINTY))
    # Student's quantile from the normal one, to the first order in 1 / freedom.
    freedom = np.array([candidate.worth() for candidate in compared]) - 1
    width_of_t = width + (width**3 + width) / (4 * freedom)
    reach = errors * width_of_t
    lows, highs = (excess - reach).tolist(), (excess + reach).tolist()
    return excess.tolist(), list(zip(lows, highs, strict=True))


def _excess(sums: np.ndarray) -> np.ndarray:
    """Return the slice's cost per unit minus that of the rest: [4, ...] -> [...]."""
    cost, units, rest_cost, rest_units = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        return cost / units - rest_cost / rest_units
