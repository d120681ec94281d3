import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.evaluate.slices import Tally, bootstrap_interval, total


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 20), st.booleans()), min_size=2), st.data())
def test_parts_add_up_to_the_whole(tokens: list, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(tokens) - 1))
    whole, parts = Tally(), Tally()
    whole.add(*map(np.array, zip(*tokens, strict=True)))
    for part in (tokens[:cut], tokens[cut:]):
        parts.add(*map(np.array, zip(*part, strict=True)))
    assert (whole.tokens, whole.bytes, whole.correct) == (parts.tokens, parts.bytes, parts.correct)
    assert whole.nats == pytest.approx(parts.nats)
    assert total([whole, parts]).tokens == 2 * whole.tokens


def test_figures_of_a_uniform_guess() -> None:
    tally = Tally()
    tally.add(np.array([1, 3]), np.array([math.log(256)] * 2), np.array([True, False]))
    assert tally.figures() == {"tokens": 2, "loss": 5.545177, "perplexity": 256.0, "bits_per_byte": 4.0, "accuracy": 0.5}


def test_interval_holds_the_mean_and_narrows_with_more_documents() -> None:
    generator = np.random.default_rng(0)
    nats, sizes = generator.gamma(9, 10, 400), np.full(400, 50)
    low, high = bootstrap_interval(nats, sizes, 300, 1)
    few_low, few_high = bootstrap_interval(nats[:20], sizes[:20], 300, 1)
    assert low < nats.sum() / math.log(2) / sizes.sum() < high
    assert high - low < few_high - few_low
    assert bootstrap_interval(nats, sizes, 300, 1) == [low, high]
    # The normal approximation gives the same width, to a tenth.
    assert high - low == pytest.approx(2 * 1.96 * nats.std() / 20 / math.log(2) / 50, rel=0.12)
