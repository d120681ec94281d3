"""Coverage of 95 % intervals of few documents: several ways to make one, on samples whose truth is known.

A figure is a ratio of sums over documents whose lengths have a heavy tail (lognormal; the number behind a name is the
standard deviation of the logarithm). `paired` is the difference of two models on the same documents, one better by 0.05,
`skewed` one model's figure where a few documents are much harder than most. An interval that says 95 % should hold the
truth 95 times of 100; an honest one is as narrow as that allows. Widths are medians, relative to `student`.

    python -m benchmarks.intervals [--samples 3000] [--draws 400]
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from privllm.stats.jackknife import degrees_of_freedom

KINDS = ("paired 0.7", "paired 1.0", "paired 1.5", "skewed 1.0")
COUNTS = (6, 10, 23, 60)
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]  # nats of model a, of model b, bytes


def sample(kind: str, count: int, chance: np.random.Generator) -> Columns:
    """Return documents of a kind."""
    sizes = 1000 * np.exp(chance.normal(0, float(kind.split()[1]), count))
    hardness = np.exp(chance.normal(0.5, 0.3, count))
    if kind.startswith("skewed"):
        return np.zeros(count), sizes * (1 + chance.gamma(1.5, 0.4, count)), sizes
    gap = 0.05 + 0.05 * (hardness - math.exp(0.545)) + chance.normal(0, 0.1, count)
    return sizes * hardness, sizes * (hardness + gap), sizes


def truth(kind: str) -> float:
    """Return the figure of infinitely many documents."""
    return 1.6 if kind.startswith("skewed") else 0.05


def intervals(columns: Columns, draws: int, chance: np.random.Generator) -> Iterator[tuple[str, float, float]]:
    """Yield (name, low, high) of each way to make an interval."""
    a, b, sizes = columns
    count = len(sizes)
    value = (b - a).sum() / sizes.sum()
    residuals = (b - a - value * sizes) / sizes.mean()
    linear = math.sqrt((residuals**2).sum() / (count * (count - 1)))
    without = ((b - a).sum() - (b - a)) / (sizes.sum() - sizes)
    jackknife = math.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    t = student.ppf(0.975, count - 1)
    yield "student", value - t * linear, value + t * linear
    yield "jackknife, n - 1", value - t * jackknife, value + t * jackknife
    kish = max(1.0, sizes.sum() ** 2 / (sizes**2).sum() - 1)
    reach = student.ppf(0.975, kish) * jackknife
    yield "jackknife, Kish", value - reach, value + reach
    reach = student.ppf(0.975, degrees_of_freedom(sizes)) * jackknife
    yield "jackknife, Satterthwaite", value - reach, value + reach

    drawn = chance.integers(0, count, (draws, count))
    drawn_gaps, drawn_sizes = (b - a)[drawn], sizes[drawn]
    values = drawn_gaps.sum(axis=1) / drawn_sizes.sum(axis=1)
    low, high = np.quantile(values, (0.025, 0.975))
    yield "percentile bootstrap", low, high
    drawn_residuals = (drawn_gaps - values[:, None] * drawn_sizes) / drawn_sizes.mean(axis=1, keepdims=True)
    errors = np.sqrt((drawn_residuals**2).sum(axis=1) / (count * (count - 1)))
    has_error = errors > 0
    ratios = (values[has_error] - value) / errors[has_error]
    low_t, high_t = np.quantile(ratios, (0.025, 0.975))
    yield "bootstrap-t", value - high_t * linear, value - low_t * linear
    reach = np.quantile(np.abs(ratios), 0.95) * linear
    yield "bootstrap-t, symmetric", value - reach, value + reach
    bias = norm.ppf(np.clip((values < value).mean(), 1 / draws, 1 - 1 / draws))
    deviations = without.mean() - without
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    ends = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in norm.ppf((0.025, 0.975))]
    low, high = np.quantile(values, norm.cdf(ends))
    yield "BCa bootstrap", low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--draws", type=int, default=400)
    args = parser.parse_args()
    held: dict[str, dict[str, float]] = defaultdict(dict)  # by way, by case
    widths: dict[str, list[float]] = defaultdict(list)
    cases = [(kind, count) for kind in KINDS for count in COUNTS]
    for kind, count in cases:
        chance = np.random.default_rng(count)
        holds, reaches = defaultdict(list), defaultdict(list)
        for _ in range(args.samples):
            for name, low, high in intervals(sample(kind, count, chance), args.draws, chance):
                holds[name].append(low <= truth(kind) <= high)
                reaches[name].append(high - low)
        for name in holds:
            held[name][f"{kind}, {count}"] = 100 * float(np.mean(holds[name]))
            widths[name].append(float(np.median(reaches[name]) / np.median(reaches["student"])))
    for kind in KINDS:
        print(f"\n{kind}: % of intervals that hold the truth\n")
        print("| interval | " + " | ".join(f"n = {count}" for count in COUNTS) + " | width |")
        print("|---" * (len(COUNTS) + 2) + "|")
        for name in held:
            cells = [f"{held[name][f'{kind}, {count}']:.1f}" for count in COUNTS]
            of_kind = [width for case, width in zip(cases, widths[name], strict=True) if case[0] == kind]
            print(f"| {name} | {' | '.join(cells)} | {np.mean(of_kind):.2f} |", flush=True)


if __name__ == "__main__":
    main()
