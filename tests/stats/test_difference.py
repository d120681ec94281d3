"""difference: against slow, obvious versions, and laws of an interval over groups."""

import math
import random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from privllm.stats.difference import LEAST_GROUPS, Difference, difference, interval_of
from privllm.stats.scores import Score, mean_of

EXAMPLES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3), st.sampled_from([f"g{i}" for i in range(14)])),
    min_size=1,
    max_size=40,
)
Example = tuple[int, int, int, str]  # what each model got right, of how many, and the group


def singles(count: int) -> list[str]:
    return [f"example {i:05}" for i in range(count)]


def slow_jackknife(examples: list[Example]) -> tuple[float, float] | None:
    """Score the examples of all groups but one, for each group: how far these scores vary says how far the whole may lie off."""
    names = sorted({group for *_, group in examples})
    if len(names) < LEAST_GROUPS:
        return None

    def gap(sample: list[Example]) -> float:
        under = sum(example[2] for example in sample)
        return sum(example[1] - example[0] for example in sample) / under if under else 0.0

    gaps = [gap([example for example in examples if example[3] != name]) for name in names]
    mean = sum(gaps) / len(gaps)
    error = math.sqrt((len(names) - 1) / len(names) * sum((value - mean) ** 2 for value in gaps))
    sizes = [sum(example[2] for example in examples if example[3] == name) for name in names]
    if not any(sizes):
        return None
    freedom = (len(names) - 1) / len(names) * sum(n**2 for n in sizes) ** 2 / sum(n**4 for n in sizes)
    reach = float(student.ppf(0.975, freedom)) * error
    return gap(examples) - reach, gap(examples) + reach


def measured(examples: list[Example]) -> Difference:
    over_a, over_b, under, groups = zip(*examples, strict=True)
    unders = np.array(under, float)
    return difference(Score(np.array(over_a, float), unders), Score(np.array(over_b, float), unders), groups)


@given(EXAMPLES)
def test_the_interval_is_that_of_a_slow_jackknife(examples: list[Example]) -> None:
    ungrouped = [(a, b, under, name) for (a, b, under, _), name in zip(examples, singles(99), strict=False)]
    for case in (examples, ungrouped):
        expected = slow_jackknife(case)
        assert measured(case).interval == (expected and pytest.approx(expected, abs=2e-6))


@given(EXAMPLES, st.randoms())
def test_the_order_of_examples_does_not_matter(examples: list[Example], chance: random.Random) -> None:
    shuffled = list(examples)
    chance.shuffle(shuffled)
    assert measured(shuffled) == measured(examples)


@given(EXAMPLES)
def test_swapping_the_models_mirrors_the_difference(examples: list[Example]) -> None:
    forth = measured(examples)
    back = measured([(b, a, under, group) for a, b, under, group in examples])
    assert (back.a, back.b, back.difference) == (forth.b, forth.a, -forth.difference)
    mirrored = forth.interval and (-forth.interval[1], -forth.interval[0])
    assert back.interval == (mirrored and pytest.approx(mirrored, abs=2e-6))


def test_of_equal_groups_the_interval_of_a_mean_is_students() -> None:
    """The jackknife of a mean is its standard error."""
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    low, high = student.interval(0.95, 11, values.mean(), values.std(ddof=1) / math.sqrt(12))
    assert difference(mean_of(np.zeros(12)), mean_of(values), singles(12)).interval == pytest.approx(
        (low, high), abs=2e-6
    )
    assert interval_of(mean_of(values), singles(12)) == pytest.approx((low, high), abs=2e-6)


class Sides(NamedTuple):
    """Nats of both models and bytes of some documents."""

    a: np.ndarray
    b: np.ndarray
    sizes: np.ndarray


def documents_like(kind: str, count: int, chance: np.random.Generator) -> Sides:
    """Documents whose lengths have a heavy tail; `paired`: one model is better by 0.05, more so on what is hard."""
    tail = float(kind.partition(" ")[2])
    sizes = 1000 * np.exp(chance.normal(0, tail, count))
    hardness = np.exp(chance.normal(0.5, 0.3, count))
    if kind.startswith("skewed"):
        return Sides(np.zeros(count), sizes * (1 + chance.gamma(1.5, 0.4, count)), sizes)
    gap = 0.05 + 0.05 * (hardness - math.exp(0.545)) + chance.normal(0, 0.1, count)
    return Sides(sizes * hardness, sizes * (hardness + gap), sizes)


@pytest.mark.parametrize("kind", ["paired 0.7", "paired 1.0", "paired 1.5", "skewed 1.0"])
@pytest.mark.parametrize("count", [10, 23, 60])
def test_the_interval_covers_as_often_as_it_says(kind: str, count: int) -> None:
    """Of 1,500 samples at least 93 % have an interval with the truth in it; the percentile bootstrap had 83 to 91 %."""
    mean_gap = 1 + 1.5 * 0.4 if kind.startswith("skewed") else 0.05
    chance = np.random.default_rng(count)
    covering = 0
    for _ in range(1500):
        a, b, sizes = documents_like(kind, count, chance)
        interval = difference(Score(a, sizes), Score(b, sizes), singles(count)).interval
        assert interval
        covering += interval[0] <= mean_gap <= interval[1]
    assert covering / 1500 >= 0.93


def test_what_belongs_together_is_one_group() -> None:
    """Ten copies of each example say no more than one does."""
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    copies, names = np.repeat(values, 10), singles(30)

    def width(scores: np.ndarray, groups: list[str]) -> float:
        interval = difference(mean_of(np.zeros(len(scores))), mean_of(scores), groups).interval
        assert interval
        return interval[1] - interval[0]

    assert width(copies, [name for name in names for _ in range(10)]) == pytest.approx(width(values, names), rel=1e-4)
    assert width(copies, singles(300)) < 0.5 * width(values, names)


def test_nothing_to_find_scores_0_and_has_no_interval() -> None:
    nothing = Score(np.zeros(12), np.zeros(12))
    assert difference(nothing, nothing, singles(12)) == (0.0, 0.0, 0.0, None)


def test_a_transform_makes_the_figure() -> None:
    a, b = np.repeat([1.0, 3.0], 6), np.full(12, 2.0)
    squared = difference(mean_of(a), mean_of(b), singles(12), transform=np.square)
    without_one = np.square((a.sum() - a) / 11)
    error = math.sqrt(11 / 12 * ((without_one - without_one.mean()) ** 2).sum())
    reach = float(student.ppf(0.975, 11)) * error
    assert squared[:3] == (4.0, 4.0, 0.0)
    assert squared.interval == pytest.approx((-reach, reach), abs=2e-6)


@pytest.mark.parametrize(("groups", "has_interval"), [(0, False), (1, False), (9, False), (10, True)])
def test_too_few_groups_have_no_interval(groups: int, has_interval: bool) -> None:
    names = [f"g{i % groups}" for i in range(20)] if groups else []
    a, b = mean_of([0.25] * len(names)), mean_of([0.5] * len(names))
    assert difference(a, b, names).interval == ((0.25, 0.25) if has_interval else None)
    assert interval_of(b, names) == ((0.5, 0.5) if has_interval else None)
    assert LEAST_GROUPS == 10


def test_an_interval_that_is_not_finite_is_none() -> None:
    a, b = mean_of([1.0] * 12), mean_of([1.0] * 11 + [float("nan")])
    assert difference(a, b, singles(12)).interval is None
    assert interval_of(b, singles(12)) is None
