"""Agreement between raters: Krippendorff's alpha for nominal values, overall and for each rater.

    alpha = 1 - Do / De      Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"

Do is how often two values of one unit differ, De how often two values of any units do. 1 is perfect
agreement, 0 is what chance gives, and a negative value is systematic disagreement. Do is a mean over
values, each compared with the other values of its unit, so the mean over one rater's values gives
that rater's alpha, and the mean of these, weighted by number of values, is the overall alpha.

`reliabilities` repeats this with every other rater weighted by their own reliability, so that a
rater who votes at random does not pull down those who judged the same units. A majority that
colludes is believed: nothing here knows the truth, so `raters` lets agreement earn nothing.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Units = Sequence[Mapping[str, str]]  # for each judged unit {rater: value}
ROUNDS = 10
MIN_WEIGHT = 0.01  # of another rater, so that there is always somebody to compare with


class Disagreement(NamedTuple):
    """Observed and expected disagreement of one rater with the others."""

    shared: int  # values on units that somebody else judged too
    observed: float  # disagreements among them, [0, shared]
    expected: float  # disagreements of a rater who draws values from their overall distribution


def alpha(units: Units) -> float | None:
    """Return Krippendorff's alpha; None where no unit has two values, or where all values are equal."""
    by_rater = disagreements(units, {})
    expected = math.fsum(rater.expected for rater in by_rater.values())
    if not expected:
        return None
    return 1 - math.fsum(rater.observed for rater in by_rater.values()) / expected


def disagreements(units: Units, rater_weights: Mapping[str, float]) -> dict[str, Disagreement]:
    """Return each rater's disagreement with the others, who weigh `rater_weights` (1 if not listed).

    Time grows with the number of values, not of their pairs: one unit may have thousands of values.
    """
    shared_units = [unit for unit in units if len(unit) > 1]
    expected_rate = _expected_rate(shared_units)
    observed: dict[str, list[float]] = {}  # for each value of a rater the weighted share of others that differ
    for unit in shared_units:
        weights = {rater: rater_weights.get(rater, 1.0) for rater in unit}
        weight_of_value = _weight_of_values(unit, weights)
        total = math.fsum(weights.values())
        for rater, value in unit.items():
            differing = (total - weight_of_value[value]) / (total - weights[rater])
            observed.setdefault(rater, []).append(differing)
    return {
        rater: Disagreement(len(shares), math.fsum(shares), len(shares) * expected_rate)
        for rater, shares in sorted(observed.items())
    }


def _expected_rate(units: Units) -> float:
    """Return De: the share of all pairs of values that differ."""
    counts = Counter(value for unit in units for value in unit.values())
    pairs = counts.total() * (counts.total() - 1)
    if not pairs:
        return 0.0
    return 1 - sum(count * (count - 1) for count in counts.values()) / pairs


def _weight_of_values(unit: Mapping[str, str], weights: Mapping[str, float]) -> dict[str, float]:
    weights_by_value: dict[str, list[float]] = {}
    for rater, value in unit.items():
        weights_by_value.setdefault(value, []).append(weights[rater])
    return {value: math.fsum(value_weights) for value, value_weights in weights_by_value.items()}


def reliabilities(
    unit_groups: Sequence[Units],
    prior: float,
    prior_units: float,
) -> dict[str, tuple[int, float]]:
    """Return {rater: (shared values, reliability)} of all raters who share any.

    `unit_groups` are groups of units whose values mean different things (thumbs, votes). Reliability
    is the rater's alpha, shrunk towards `prior` as if `prior_units` more values had shown that, and
    clipped to [0, 1].
    """
    result: dict[str, tuple[int, float]] = {}
    for _ in range(ROUNDS):
        rater_weights = {rater: max(MIN_WEIGHT, value) for rater, (_, value) in result.items()}
        groups = [disagreements(units, rater_weights) for units in unit_groups]
        raters = sorted({rater for group in groups for rater in group})
        result = {}
        for rater in raters:
            counts = [group[rater] for group in groups if rater in group]
            shared = sum(count.shared for count in counts)
            expected = math.fsum(count.expected for count in counts)
            rater_alpha = prior
            if expected:
                rater_alpha = 1 - math.fsum(count.observed for count in counts) / expected
            shrunk = (shared * rater_alpha + prior_units * prior) / (shared + prior_units)
            result[rater] = shared, min(1.0, max(0.0, shrunk))
    return result
