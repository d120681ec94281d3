"""Blind matches of the arena: which two models meet, on which side each is shown, and a vote's points.

Pure functions of a secret and the match's id: a voter who sees only ids cannot tell the sides, and
whoever has the secret can check them. Nothing is generated or stored here.
"""

from itertools import combinations

from privllm.core.seed import seed_of, unit_interval
from privllm.feedback.records import Model, Vote

Sides = tuple[int, int]
LEFT_POINTS = {"left": 1.0, "tie": 0.5, "right": 0.0}  # of a vote's choice


def sides(models: int, secret: str, match: str) -> Sides:
    """Return (left, right): two different indices below `models`; every ordered pair is equally likely.

    There must be at least two models.
    """
    assert models >= 2, "a match needs two models"
    pairs = list(combinations(range(models), 2))
    first, second = pairs[seed_of("pair", secret, match) % len(pairs)]
    if unit_interval("side", secret, match) < 0.5:
        return first, second
    return second, first


def points(vote: Vote) -> tuple[Model, Model, float] | None:
    """Return (left, right, left's points): 1 for a win, 0.5 for a tie, 0 for a loss.

    A vote that both replies are bad compares nothing and gives None.
    """
    if vote.choice == "both_bad":
        return None
    return vote.left.model, vote.right.model, LEFT_POINTS[vote.choice]
