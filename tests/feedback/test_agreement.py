import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.feedback.agreement import alpha, disagreements, reliabilities

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", sections A, B and C; "." is a missing value.
BINARY = ["0100000010", "1110010000"]
NOMINAL = ["aabbdcccedda", "babbbccceddd"]
MISSING = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def units_of(rows: list[str]) -> list[dict[str, str]]:
    return [
        {str(rater): value for rater, value in enumerate(column) if value != "."} for column in zip(*rows, strict=True)
    ]


@pytest.mark.parametrize(("rows", "published"), [(BINARY, 0.095), (NOMINAL, 0.692), (MISSING, 0.743)])
def test_alpha_is_what_krippendorff_published(rows: list[str], published: float) -> None:
    found = alpha(units_of(rows))
    assert found is not None
    assert round(found, 3) == published


def test_alpha_is_not_known_where_nothing_is_shared_or_differs() -> None:
    assert alpha([]) is None
    assert alpha([{"a": "up"}, {"b": "down"}]) is None
    assert alpha([{"a": "up", "b": "up"}]) is None


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz"), min_size=2), min_size=2, max_size=12))
def test_alpha_is_the_mean_of_the_raters_own(units: list[dict[str, str]]) -> None:
    whole, each = alpha(units), disagreements(units, {}).values()
    if whole is not None:
        chance = sum(one.expected for one in each) / sum(one.shared for one in each)
        own = sum(one.shared * (1 - one.observed / one.shared / chance) for one in each) / sum(
            one.shared for one in each
        )
        assert own == pytest.approx(whole)


def test_who_votes_at_random_is_found_and_pulls_nobody_down() -> None:
    rng = random.Random(1)
    truth = [rng.choice("xy") for _ in range(60)]
    careful = [{name: (t if rng.random() < 0.9 else "z") for name in "abc"} for t in truth]
    before = reliabilities([careful], 0.5, 5)
    after = reliabilities([[unit | {"r": rng.choice("xy")} for unit in careful]], 0.5, 5)
    assert after["r"][1] < 0.2
    assert all(abs(after[name][1] - before[name][1]) < 0.06 and after[name][1] > 0.55 for name in "abc")


def test_little_evidence_says_little() -> None:
    found = reliabilities([[{"a": "x", "b": "y"}, {"c": "x", "d": "x"}]], 0.5, 5)
    assert 0.2 < found["a"][1] < 0.5 < found["c"][1] < 0.6


def test_many_people_on_one_thing_are_no_burden() -> None:
    crowd = {f"p{i}": "xy"[i % 3 == 0] for i in range(5_000)}
    start = time.perf_counter()
    found = reliabilities([[crowd]], 0.5, 5)
    assert time.perf_counter() - start < 10
    assert found["p1"][1] > found["p0"][1]


def test_who_judges_only_one_kind_of_thing_is_judged_by_it() -> None:
    thumbs = [{"a": "up", "b": "up"}, {"a": "down", "b": "down"}, {"a": "up", "c": "down"}]
    votes = [{"a": "first", "d": "first"}, {"a": "second", "d": "second"}]
    found = reliabilities([thumbs, votes], 0.5, 5)
    assert {rater: shared for rater, (shared, _) in found.items()} == {"a": 5, "b": 2, "c": 1, "d": 2}
    assert found["c"][1] < 0.5 < min(found["a"][1], found["b"][1])
    assert found["d"][1] == pytest.approx((2 * 1 + 5 * 0.5) / 7)


@pytest.mark.parametrize(("prior_units", "expected"), [(1e-9, 1.0), (2.0, 0.75), (1e9, 0.5)])
def test_the_prior_weighs_what_it_is_said_to_be_worth(prior_units: float, expected: float) -> None:
    found = reliabilities([[{"a": "x", "b": "x"}, {"a": "y", "b": "y"}]], 0.5, prior_units)
    assert found["a"] == (2, pytest.approx(expected))


def test_reliability_lies_between_nothing_and_one() -> None:
    opposed = [{"a": "x", "b": "y"}, {"a": "y", "b": "x"}] * 20
    assert reliabilities([opposed], 0.5, 1)["a"] == (40, 0.0)
    # Where all say the same, agreement shows nothing.
    assert reliabilities([[{"a": "x", "b": "x"}] * 5], 0.25, 1)["a"] == (5, 0.25)
    assert reliabilities([[{"a": "x"}]], 0.5, 1) == {}
