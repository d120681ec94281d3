"""Who is better: Bradley and Terry (1952) over the arena's votes, with intervals.

P(i beats j) = 1 / (1 + exp(s_j - s_i)). A tie counts as half a win for each; "both bad" is counted and compares nothing. Every pair
that met gets one imaginary tie, so that three wins out of three are not called certainty. Intervals are of the maximum's curvature
(Fisher information). It draws nothing at random, and it does not say whether voters agree with each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privllm.feedback.arena import points
from privllm.feedback.records import Model, Vote

Z95 = 1.959964
ROUNDS = 100
STEP_AT_MOST = 2.0  # of a strength, per Newton step


@dataclass(frozen=True)
class RankedModel:
    """One model's votes, and how often it would be preferred to the average of the others."""

    model: Model
    wins: int
    ties: int
    losses: int
    both_bad: int
    share: float  # in (0, 1)
    low: float  # of the 95 % interval of `share`
    high: float


def ranking(votes: Sequence[Vote]) -> list[RankedModel]:
    """Best first. Models with the same digest are the same model, whatever revision they were fetched from."""
    models: dict[str, Model] = {}
    for vote in votes:
        for model in (vote.left.model, vote.right.model):
            models.setdefault(_key(model), model)
    index = {key: i for i, key in enumerate(models)}
    if len(index) < 2:
        return []
    counts = np.zeros((len(index), 4), int)  # wins, ties, losses, both bad
    won = np.zeros((len(index), len(index)))
    for vote in votes:
        i, j = index[_key(vote.left.model)], index[_key(vote.right.model)]
        counted = points(vote)
        if counted is None:
            counts[[i, j], 3] += 1
            continue
        left = counted[2]
        won[i, j] += left
        won[j, i] += 1 - left
        counts[i, {1.0: 0, 0.5: 1, 0.0: 2}[left]] += 1
        counts[j, {1.0: 2, 0.5: 1, 0.0: 0}[left]] += 1
    leads, errors = strengths(won)
    rows = [
        RankedModel(model, *map(int, counts[i]), *(_logistic(leads[i] + margin) for margin in (0, -Z95 * errors[i], Z95 * errors[i])))
        for i, model in enumerate(models.values())
    ]
    return sorted(rows, key=lambda row: -row.share)


def strengths(won: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(leads, standard errors), each [n], of models in won[n, n], where won[i, j] is the points of i against j.

    A lead is the strength less the mean of the others'. A model that met nobody has lead 0 and an infinite error, and so have all
    where the meetings fall into groups that never met: nothing compares them.
    """
    met = won + won.T > 0
    won = won + met / 2
    games, n = won + won.T, len(won)
    s = np.zeros(n)
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(s[None, :] - s[:, None]))
        step = np.linalg.pinv(_information(games, p)) @ (won - games * p).sum(1)
        s += np.clip(step, -STEP_AT_MOST, STEP_AT_MOST)
        if np.abs(step).max() < 1e-10:
            break
    information = _information(games, 1 / (1 + np.exp(s[None, :] - s[:, None])))
    scale = n / (n - 1)  # strengths add up to 0, so the mean of the others is -s / (n - 1)
    if np.linalg.matrix_rank(information) < n - 1:
        return (s - s.mean()) * scale, np.full(n, np.inf)
    return (s - s.mean()) * scale, np.sqrt(np.diag(np.linalg.pinv(information))) * scale


def _information(games: np.ndarray, p: np.ndarray) -> np.ndarray:
    weight = games * p * (1 - p)
    np.fill_diagonal(weight, 0)
    return np.diag(weight.sum(1)) - weight


def _logistic(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


def _key(model: Model) -> str:
    return model.digest or f"{model.revision}/{model.name}"
