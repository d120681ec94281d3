"""Blind matches: which two models meet, which of them stands left, and what a vote then says.

Pure functions of a secret and the match's id: a voter who sees only ids cannot tell the sides, and whoever has the secret can check
them. It generates nothing and stores nothing.
"""

from itertools import combinations

from privllm.core.seed import seed_of, unit_interval
from privllm.feedback.records import Model, Vote

Sides = tuple[int, int]


def sides(models: int, secret: str, match: str) -> Sides:
    """(left, right): two different indices below `models` (at least 2); every ordered pair is equally likely."""
    assert models >= 2, "a match needs two models"
    pairs = list(combinations(range(models), 2))
    one, other = pairs[seed_of("pair", secret, match) % len(pairs)]
    return (one, other) if unit_interval("side", secret, match) < 0.5 else (other, one)


def points(vote: Vote) -> tuple[Model, Model, float] | None:
    """(left, right, left's points): 1 for a win, 0.5 for a tie, 0 for a loss; None where both were bad, which compares nothing."""
    if vote.choice == "both_bad":
        return None
    return vote.left.model, vote.right.model, {"left": 1.0, "tie": 0.5, "right": 0.0}[vote.choice]
