import math

import numpy as np
import pytest

from privllm.feedback.ranking import Z95, ranking, strengths
from privllm.feedback.records import Model
from tests.feedback.cases import A, B, C, vote


def test_two_models_have_a_closed_form() -> None:
    """With one imaginary tie, the share is (wins + ties / 2 + 1/2) / (votes + 1), and the error that of a logit."""
    votes = [vote(str(i), "left") for i in range(7)] + [
        vote("r", "right", B, A),
        vote("s", "right"),
        vote("t", "tie"),
        vote("b", "both_bad"),
    ]
    first, second = ranking(votes)
    assert (first.model, first.wins, first.ties, first.losses, first.both_bad) == (A, 8, 1, 1, 1)
    assert (second.wins, second.ties, second.losses, second.both_bad) == (1, 1, 8, 1)
    share = (8 + 0.5 + 0.5) / 11
    assert first.share == pytest.approx(share)
    assert second.share == pytest.approx(1 - share)
    low = math.log(share / (1 - share)) - Z95 / math.sqrt(11 * share * (1 - share))
    assert first.low == pytest.approx(1 / (1 + math.exp(-low)))
    assert first.low == pytest.approx(1 - second.high)


def test_nobody_is_certain_after_three_wins() -> None:
    first, _ = ranking([vote(str(i), "left") for i in range(3)])
    assert first.share < 0.9
    assert first.low < 0.5 < first.high


def test_nothing_compares_those_who_never_met() -> None:
    assert ranking([]) == []
    assert ranking([vote("1", "left", A, A)]) == []
    d = Model("d", "", "dd")
    rows = ranking([vote("1", "left"), vote("2", "left", C, d)])
    assert all((row.low, row.high) == (0, 1) for row in rows)


def test_the_same_weights_are_the_same_model() -> None:
    moved = Model("a", "other revision", A.digest)
    rows = ranking([vote("1", "left"), vote("2", "left", moved, B)])
    assert [(row.model.name, row.wins) for row in rows] == [("a", 2), ("b", 0)]


def test_known_strengths_are_found_and_intervals_cover_them() -> None:
    """200 simulated tournaments of three: an interval of 95 % holds the truth in 92 to 98 of 100."""
    rng, true = np.random.default_rng(0), np.array([0.8, 0.0, -0.8])
    leads = true * 3 / 2
    held, found = 0, np.zeros(3)
    for _ in range(200):
        won = np.zeros((3, 3))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            won[i, j] = rng.binomial(60, 1 / (1 + math.exp(true[j] - true[i])))
            won[j, i] = 60 - won[i, j]
        lead, error = strengths(won)
        found += lead / 200
        held += int((np.abs(lead - leads) < Z95 * error).sum())
    assert np.abs(found - leads).max() < 0.05
    assert 0.92 < held / 600 < 0.98


def test_the_best_is_first_and_each_has_its_own_counts() -> None:
    votes = [
        vote("1", "left", A, B),
        vote("2", "right", C, A),
        vote("3", "tie", B, C),
        vote("4", "both_bad", A, C),
        vote("5", "left", B, C),
    ]
    rows = ranking(votes)
    assert [(row.model.name, row.wins, row.ties, row.losses, row.both_bad) for row in rows] == [
        ("a", 2, 0, 0, 1),
        ("b", 1, 1, 1, 0),
        ("c", 0, 1, 2, 1),
    ]
    assert [row.share for row in rows] == sorted((row.share for row in rows), reverse=True)
    assert all(0 < row.low < row.share < row.high < 1 for row in rows)


def test_a_model_without_a_digest_is_known_by_its_name_and_revision() -> None:
    d, e, moved = Model("d", "", ""), Model("e", "", ""), Model("d", "r", "")
    assert [row.model.name for row in ranking([vote("1", "left", d, e), vote("2", "left", moved, e)])].count("d") == 2


def test_only_bad_replies_rank_nobody() -> None:
    rows = ranking([vote("1", "both_bad"), vote("2", "both_bad", B, A)])
    assert [(row.wins, row.both_bad, row.share) for row in rows] == [(0, 2, 0.5), (0, 2, 0.5)]
    assert all((row.low, row.high) == (0, 1) for row in rows)
