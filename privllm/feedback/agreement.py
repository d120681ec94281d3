"""Do raters agree: Krippendorff's alpha for nominal values, as a whole and of each rater against the others.

    alpha = 1 - Do / De      Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"

Do is how often two values of one unit differ, De how often two values of any units do. 1 is agreement, 0 is what chance gives, below 0 is
contradiction. Do is a mean over values, each against the others of its unit; so the mean over one rater's values gives that rater's own
alpha, and the mean of these, weighted by values, is alpha. `reliabilities` repeats it with each of the others counting by how reliable they
are themselves, so that who votes at random does not pull down those who happened to judge the same things. A majority that colludes is
believed: nothing here knows the truth.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Units = Sequence[Mapping[str, str]]  # of each thing that was judged: {rater: value}
ROUNDS = 10
LEAST = 0.01  # of how much another rater counts, so that there is always somebody to compare with


class Evidence(NamedTuple):
    shared: int  # values on units that somebody else judged too
    observed: float  # disagreements among them, [0, shared]
    expected: float  # of somebody who draws values as they are distributed


def alpha(units: Units) -> float | None:
    """Krippendorff's alpha; None where no unit has two values, or where all values are the same."""
    found = evidence(units, {})
    expected = math.fsum(one.expected for one in found.values())
    return 1 - math.fsum(one.observed for one in found.values()) / expected if expected else None


def evidence(units: Units, counts_as: Mapping[str, float]) -> dict[str, Evidence]:
    """Of each rater against the others, each of whom counts as `counts_as` says (1 where it does not)."""
    paired = [unit for unit in units if len(unit) > 1]
    values = Counter(value for unit in paired for value in unit.values())
    pairs = values.total() * (values.total() - 1)
    chance = 1 - sum(n * (n - 1) for n in values.values()) / pairs if pairs else 0.0
    differing: dict[str, list[float]] = {}
    for unit in paired:  # in time that grows with the values, not with their pairs: a unit may have thousands
        weights = {rater: counts_as.get(rater, 1.0) for rater in unit}
        agreeing = {kind: math.fsum(weights[rater] for rater in unit if unit[rater] == kind) for kind in set(unit.values())}
        total = math.fsum(weights.values())
        for rater, value in unit.items():
            differing.setdefault(rater, []).append((total - agreeing[value]) / (total - weights[rater]))
    return {rater: Evidence(len(each), math.fsum(each), len(each) * chance) for rater, each in sorted(differing.items())}


def reliabilities(kinds: Sequence[Units], prior: float, prior_units: float) -> dict[str, tuple[int, float]]:
    """{rater: (shared values, reliability)}, of who shares any; `kinds` are groups of units whose values mean different things.

    Reliability is the rater's alpha, drawn towards `prior` as if `prior_units` more values had shown that, within [0, 1].
    """
    found: dict[str, tuple[int, float]] = {}
    for _ in range(ROUNDS):
        counts_as = {rater: max(LEAST, reliability) for rater, (_, reliability) in found.items()}
        each = [evidence(units, counts_as) for units in kinds]
        found = {}
        for rater in sorted({rater for one in each for rater in one}):
            own = [one[rater] for one in each if rater in one]
            shared, expected = sum(e.shared for e in own), math.fsum(e.expected for e in own)
            agreed = 1 - math.fsum(e.observed for e in own) / expected if expected else prior
            drawn = (shared * agreed + prior_units * prior) / (shared + prior_units)
            found[rater] = shared, min(1.0, max(0.0, drawn))
    return found
