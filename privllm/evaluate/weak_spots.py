"""Weak spots: slices of the held-out text that cost the model more than the rest does, by more than the choice of documents explains.

    source, length     bits per byte of a slice of documents, against all other documents
    pos, entity        nats per token of a slice of words, against all other annotated words

Some forty slices are looked at, so intervals of 95 % each would name one or two slices of any model. These hold together: with 95 %
certainty all of them do. The deviations of all slices are taken in the same draws of documents, and the band is as wide as the largest of
them asks for, in standard errors (single-step max-t; Westfall & Young 1993). That needs no tail of a thousandth, which a thousand draws do
not have, and slices that overlap are not charged twice, as Bonferroni would. A standard error of few documents is itself uncertain: the
band is widened by the first term of Student's t for as many documents as a slice is worth (Kish 1965: one long one does not make it many).

A slice may be dear because it is hard for any model (names, numbers): a weak spot is where to look, not what is wrong.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from privllm.evaluate.slices import Cells, Tally
from privllm.stats.bootstrap import drawn_sums
from privllm.tokens.annotation_alignment import OUTSIDE, UNCOVERED, WHITE

UNITS = {"source": "bits per byte", "length": "bits per byte", "pos": "nats per token", "entity": "nats per token"}
NO_WORD = {UNCOVERED, WHITE}  # of these slices nothing is compared
LEAST = 6  # documents that a slice, and the rest, must be worth
WORST = 10  # weak spots that are named
CERTAINTY = 0.95
DIGITS = 6


class Slice(NamedTuple):
    """One slice and the rest of what it is compared with: of each document (float64 [D]) what they cost, and how many units they have."""

    kind: str
    name: str
    cost: np.ndarray
    units: np.ndarray
    rest_cost: np.ndarray
    rest_units: np.ndarray
    tokens: int

    def worth(self) -> float:
        """How many equally long documents the smaller side is worth."""
        return min(_effective(self.units), _effective(self.rest_units))


def weak_spots(cells: Cells, draws: int, seed: int) -> tuple[list[dict[str, Any]], int]:
    """The worst WORST slices whose `excess` lies above 0 with its whole interval, and how many slices were looked at.

    Worst is what costs the most in terms of the rest (`ratio`, which compares between units).
    """
    looked_at = [one for one in slices(cells) if one.worth() >= LEAST]
    if not (looked_at and draws > 1):
        return [], 0
    found = []
    for one, excess, (low, high) in zip(looked_at, *_bands(looked_at, draws, seed), strict=True):
        if round(low, DIGITS) > 0:
            rest = one.rest_cost.sum() / one.rest_units.sum()
            numbers = {"excess": excess, "interval": (low, high), "ratio": 1 + excess / rest}
            rounded = {key: np.round(value, DIGITS).tolist() for key, value in numbers.items()}
            counts = {"documents": int((one.units > 0).sum()), "tokens": one.tokens}
            found.append({"kind": one.kind, "slice": one.name, "unit": UNITS[one.kind]} | counts | rounded)
    return sorted(found, key=lambda spot: (-spot["ratio"], spot["kind"], spot["slice"]))[:WORST], len(looked_at)


def slices(cells: Cells) -> Iterable[Slice]:
    """Every slice that can be compared with a rest."""
    ids = list(cells["all", "all"])
    for kind, unit in UNITS.items():
        names = sorted(name for of, name in cells if of == f"by_{kind}" and name not in NO_WORD)
        sums = {name: _columns(cells[f"by_{kind}", name], ids, unit) for name in names}
        for name in names:
            if name != OUTSIDE:
                cost, units = sums[name]
                rest_cost, rest_units = sum((sums[other] for other in names if other != name), np.zeros((2, len(ids))))
                yield Slice(kind, name, cost, units, rest_cost, rest_units, sum(one.tokens for one in cells[f"by_{kind}", name].values()))


def _columns(cell: dict[str, Tally], ids: list[str], unit: str) -> np.ndarray:
    """Cost and units of each document: float64 [2, D]."""
    own = [cell.get(identifier, Tally()) for identifier in ids]
    if unit == "bits per byte":
        return np.array([[one.nats / math.log(2) for one in own], [one.bytes for one in own]])
    return np.array([[one.nats for one in own], [one.tokens for one in own]], float)


def _effective(units: np.ndarray) -> float:
    return float(units.sum() ** 2 / (units**2).sum()) if units.any() else 0.0


def _bands(looked_at: list[Slice], draws: int, seed: int) -> tuple[list[float], list[tuple[float, float]]]:
    """The excess of each slice, and its simultaneous interval."""
    columns = np.stack([(one.cost, one.units, one.rest_cost, one.rest_units) for one in looked_at], axis=1)  # [4, slices, D]
    drawn = _excess(drawn_sums([*columns.reshape(-1, columns.shape[-1])], draws, seed).reshape(4, len(looked_at), draws))
    excess = _excess(columns.sum(axis=2))
    errors = np.nanstd(drawn, axis=1, ddof=1)  # a draw without any document of the slice says nothing of it
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.nan_to_num(np.abs(drawn - excess[:, None]) / errors[:, None], posinf=0.0).max(axis=0)
    width = float(np.quantile(largest, CERTAINTY))
    free = np.array([one.worth() for one in looked_at]) - 1
    reach = errors * (width + (width**3 + width) / (4 * free))  # Student's quantile from the normal one, to the first order in 1 / free
    return excess.tolist(), list(zip((excess - reach).tolist(), (excess + reach).tolist(), strict=True))


def _excess(sums: np.ndarray) -> np.ndarray:
    """[4, ...] -> [...]: the slice's cost per unit less that of the rest."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[0] / sums[1] - sums[2] / sums[3]
