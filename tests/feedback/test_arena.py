from collections import Counter

import pytest

from privllm.feedback.arena import points, sides
from tests.feedback.cases import A, B, vote


def test_every_ordered_pair_is_equally_likely() -> None:
    drawn = Counter(sides(3, "secret", str(i)) for i in range(6000))
    assert len(drawn) == 6
    assert all(850 < count < 1150 for count in drawn.values())


def test_sides_follow_the_secret_not_the_id_alone() -> None:
    ids = [str(i) for i in range(400)]
    same = sum(sides(2, "one", i) == sides(2, "other", i) for i in ids)
    assert 150 < same < 250
    assert [sides(2, "one", i) for i in ids] == [sides(2, "one", i) for i in ids]


def test_points() -> None:
    assert points(vote("1", "left")) == (A, B, 1.0)
    assert points(vote("1", "right")) == (A, B, 0.0)
    assert points(vote("1", "tie")) == (A, B, 0.5)
    assert points(vote("1", "both_bad")) is None


def test_whoever_has_the_secret_can_check_the_sides() -> None:
    """Literals: another draw would show the sides of matches that were played."""
    assert [sides(2, "secret", str(i)) for i in range(8)] == [
        (1, 0),
        (0, 1),
        (1, 0),
        (1, 0),
        (0, 1),
        (0, 1),
        (0, 1),
        (1, 0),
    ]
    assert [sides(3, "secret", str(i)) for i in range(8)] == [
        (2, 1),
        (0, 2),
        (1, 0),
        (2, 0),
        (0, 2),
        (0, 1),
        (1, 2),
        (2, 1),
    ]
    with pytest.raises(AssertionError, match="two models"):
        sides(1, "secret", "0")
