"""difference: against slow, obvious versions, and laws of a paired bootstrap over groups."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.stats.difference import LEAST_GROUPS, Difference, difference
from privllm.stats.scores import Score, mean_of

EXAMPLES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3), st.sampled_from(["g1", "g10", "g2", "h"])),
    min_size=1,
    max_size=12,
)
Example = tuple[int, int, int, str]  # what each model got right, of how many, and the group


def singles(count: int) -> list[str]:
    return [f"example {i:05}" for i in range(count)]


def slow_bootstrap(examples: list[Example], seed: int, draws: int) -> tuple[float, float]:
    """Put the examples of drawn groups in a list, score the list, and take percentiles of the differences."""
    names = sorted({group for *_, group in examples})
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(draws):
        sample: list[Example] = []
        for number in generator.integers(0, len(names), len(names)):
            sample += [example for example in examples if example[3] == names[number]]
        under = sum(example[2] for example in sample)
        score_a = sum(example[0] for example in sample) / under if under else 0
        score_b = sum(example[1] for example in sample) / under if under else 0
        differences.append(score_b - score_a)
    low, high = np.quantile(differences, [0.025, 0.975])
    return round(float(low), 6), round(float(high), 6)


def measured(examples: list[Example], seed: int, draws: int) -> Difference:
    over_a, over_b, under, groups = zip(*examples, strict=True)
    unders = np.array(under, float)
    return difference(
        Score(np.array(over_a, float), unders), Score(np.array(over_b, float), unders), groups, seed, draws
    )


@given(EXAMPLES, st.integers(0, 99))
def test_the_interval_is_that_of_a_slow_bootstrap(examples: list[Example], seed: int) -> None:
    ungrouped = [(a, b, under, name) for (a, b, under, _), name in zip(examples, singles(99), strict=False)]
    for case in (examples, ungrouped):
        assert measured(case, seed, 20).interval == pytest.approx(slow_bootstrap(case, seed, 20), abs=1e-6)


@given(EXAMPLES, st.randoms())
def test_the_order_of_examples_does_not_matter(examples: list[Example], chance: random.Random) -> None:
    shuffled = list(examples)
    chance.shuffle(shuffled)
    assert measured(shuffled, 3, 20) == measured(examples, 3, 20)


def test_the_seed_decides_the_draws() -> None:
    examples = [(i % 7, i % 5, 9, name) for i, name in enumerate(singles(30))]
    assert measured(examples, 1, 100) == measured(examples, 1, 100)
    assert measured(examples, 1, 100).interval != measured(examples, 2, 100).interval


@given(EXAMPLES)
def test_swapping_the_models_mirrors_the_difference(examples: list[Example]) -> None:
    forth = measured(examples, 3, 20)
    back = measured([(b, a, under, group) for a, b, under, group in examples], 3, 20)
    assert (back.a, back.b, back.difference) == (forth.b, forth.a, -forth.difference)
    assert forth.interval
    assert back.interval == pytest.approx((-forth.interval[1], -forth.interval[0]), abs=2e-6)


def test_the_interval_by_listing_all_draws() -> None:
    """Of three examples there are 27 equally likely draws: many random ones approach their quantiles."""
    a, b = np.array([0.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0])
    all_differences = [np.mean(b[list(draw)] - a[list(draw)]) for draw in itertools.product(range(3), repeat=3)]
    interval = difference(mean_of(a), mean_of(b), ["x", "y", "z"], seed=0, draws=20_000).interval
    expected = np.quantile(all_differences, [0.025, 0.975], method="inverted_cdf")
    assert interval == pytest.approx(tuple(expected), abs=1e-6)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """Normal differences of mean 0.3: about 95 of 100 intervals hold it."""
    generator, covering = np.random.default_rng(0), 0
    for trial in range(200):
        a, b = generator.normal(0, 1, 60), generator.normal(0.3, 1, 60)
        interval = difference(mean_of(a), mean_of(b), singles(60), trial, draws=300).interval
        assert interval
        covering += interval[0] <= 0.3 <= interval[1]
    assert 0.89 <= covering / 200 <= 0.98


def test_what_belongs_together_is_drawn_together() -> None:
    """Ten copies of each example say no more than one does."""
    values = np.random.default_rng(0).normal(0.2, 1, 30)
    copies, names = np.repeat(values, 10), singles(30)

    def width(scores: np.ndarray, groups: list[str]) -> float:
        interval = difference(mean_of(np.zeros(len(scores))), mean_of(scores), groups, seed=1).interval
        assert interval
        return interval[1] - interval[0]

    assert width(copies, [name for name in names for _ in range(10)]) == pytest.approx(width(values, names), rel=0.1)
    assert width(copies, singles(300)) < 0.5 * width(values, names)


def test_a_draw_without_anything_to_find_scores_0() -> None:
    nothing, half = Score(np.zeros(2), np.zeros(2)), Score(np.array([2.0, 0.0]), np.array([4.0, 0.0]))
    assert difference(nothing, half, ["a", "b"], seed=0) == (0.0, 0.5, 0.5, (0.0, 0.5))


def test_a_transform_makes_the_figure_of_each_draw() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    squared = difference(mean_of(a), mean_of(b), ["x", "y", "z"], 0, 20_000, transform=np.square)
    assert squared == (4.0, 4.0, 0.0, (4.0 - 9.0, 4.0 - 1.0))  # the means of three draws go from 1 to 3


@pytest.mark.parametrize(
    ("groups", "least", "has_interval"), [(0, 1, False), (0, 0, False), (1, 1, True), (9, 10, False), (10, 10, True)]
)
def test_too_few_groups_have_no_interval(groups: int, least: int, has_interval: bool) -> None:
    names = [f"g{i % groups}" for i in range(12)] if groups else []
    a, b = mean_of([0.25] * len(names)), mean_of([0.5] * len(names))
    interval = difference(a, b, names, 0, 100, least).interval
    assert interval == ((0.25, 0.25) if has_interval else None)
    assert LEAST_GROUPS == 10


def test_an_interval_that_is_not_finite_is_none() -> None:
    a, b = mean_of([1.0] * 6), mean_of([1.0] * 5 + [float("nan")])
    assert difference(a, b, singles(6), 0, 100).interval is None
