"""Ranking of models by the arena's votes: the Bradley-Terry model (1952), with intervals.

P(i beats j) = 1 / (1 + exp(s_j - s_i)). A tie counts as half a win for each; "both bad" is counted
and compares nothing. Every pair that met gets one imaginary tie, so that three wins out of three are
not called certainty. Intervals come from the curvature at the maximum (Fisher information). Nothing
is drawn at random, and agreement between voters is not measured here: see `agreement`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privllm.feedback.arena import points
from privllm.feedback.records import Model, Vote

Z95 = 1.959964
ROUNDS = 100
MAX_STEP = 2.0  # of a strength, per Newton step
TOLERANCE = 1e-10  # of the last step

WIN, TIE, LOSS, BOTH_BAD = range(4)  # columns of the counts
OUTCOME_OF_POINTS = {1.0: WIN, 0.5: TIE, 0.0: LOSS}


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
    """Return the models of all votes, best first.

    Models with the same digest are the same model, whatever revision they were fetched from.
    """
    models = _models_of(votes)
    if len(models) < 2:
        return []
    counts, won = _tally(votes, list(models))
    leads, errors = strengths(won)
    rows = []
    for i, model in enumerate(models.values()):
        wins, ties, losses, both_bad = map(int, counts[i])
        margin = Z95 * errors[i]
        share, low, high = map(_logistic, (leads[i], leads[i] - margin, leads[i] + margin))
        rows.append(RankedModel(model, wins, ties, losses, both_bad, share, low, high))
    return sorted(rows, key=lambda row: -row.share)


def _models_of(votes: Sequence[Vote]) -> dict[str, Model]:
    models: dict[str, Model] = {}
    for vote in votes:
        for model in (vote.left.model, vote.right.model):
            models.setdefault(_key(model), model)
    return models


def _tally(votes: Sequence[Vote], keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (counts int [models, 4], points of each model against each other [models, models]).

    The counts are wins, ties, losses and votes that both replies are bad.
    """
    index = {key: i for i, key in enumerate(keys)}
    counts = np.zeros((len(index), 4), int)
    won = np.zeros((len(index), len(index)))
    for vote in votes:
        i, j = index[_key(vote.left.model)], index[_key(vote.right.model)]
        comparison = points(vote)
        if comparison is None:
            counts[[i, j], BOTH_BAD] += 1
            continue
        left_points = comparison[2]
        won[i, j] += left_points
        won[j, i] += 1 - left_points
        counts[i, OUTCOME_OF_POINTS[left_points]] += 1
        counts[j, OUTCOME_OF_POINTS[1 - left_points]] += 1
    return counts, won


def strengths(won: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (leads, standard errors), each [n], of models in won[n, n]: the points of i against j.

    A lead is the strength less the mean of the others'. A model that met nobody has lead 0 and an
    infinite error, and so have all models where the meetings fall into groups that never met.
    """
    met = won + won.T > 0
    won = won + met / 2
    games, n = won + won.T, len(won)
    s = np.zeros(n)
    for _ in range(ROUNDS):
        p = _win_probabilities(s)
        gradient = (won - games * p).sum(1)
        step = np.linalg.pinv(_information(games, p)) @ gradient
        s += np.clip(step, -MAX_STEP, MAX_STEP)
        if np.abs(step).max() < TOLERANCE:
            break
    information = _information(games, _win_probabilities(s))
    scale = n / (n - 1)  # strengths add up to 0, so the mean of the others is -s / (n - 1)
    leads = (s - s.mean()) * scale
    if np.linalg.matrix_rank(information) < n - 1:
        return leads, np.full(n, np.inf)
    return leads, np.sqrt(np.diag(np.linalg.pinv(information))) * scale


def _win_probabilities(s: np.ndarray) -> np.ndarray:
    """Return P(i beats j), [n, n], of strengths `s` [n]."""
    return 1 / (1 + np.exp(s[None, :] - s[:, None]))


def _information(games: np.ndarray, p: np.ndarray) -> np.ndarray:
    weight = games * p * (1 - p)
    np.fill_diagonal(weight, 0)
    return np.diag(weight.sum(1)) - weight


def _logistic(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))


def _key(model: Model) -> str:
    return model.digest or f"{model.revision}/{model.name}"
