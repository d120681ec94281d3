import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, own_ids
from privllm.models.seq2seq import SENTINELS
from privllm.models.span_corruption import CorruptionConfig, counts, cut_out, holes

VOCABULARY = 5000


@given(st.integers(2, 3000), st.floats(0.01, 0.9), st.floats(1, 20), st.integers(0, 2**32))
def test_what_is_cut_out_and_what_stays_give_the_text(length: int, density: float, mean: float, seed: int) -> None:
    cfg = CorruptionConfig(density, mean)
    tokens = np.arange(6, 6 + length)
    spans = holes(cfg, length, np.random.default_rng(seed))
    inputs, labels = cut_out(tokens, spans, own_ids(VOCABULARY))
    cut, number = counts(cfg, length)
    assert (len(inputs), len(labels)) == (length - cut + number, cut + number + 1)
    assert labels[-1] == END_OF_TEXT
    parts = np.split(labels[:-1], np.flatnonzero(labels[:-1] >= VOCABULARY))[1:]
    filled = {int(part[0]): part[1:] for part in parts}
    assert [token for one in inputs for token in (filled[int(one)] if one >= VOCABULARY else [one])] == tokens.tolist()
    assert [int(one) for one in inputs if one >= VOCABULARY] == [VOCABULARY + i for i in range(number)]
    assert 1 <= number <= SENTINELS
    assert inputs[0] < VOCABULARY


def test_by_hand() -> None:
    inputs, labels = cut_out(np.array([10, 11, 12, 13, 14, 15, 16]), [(1, 3), (5, 6)], own_ids(100))
    assert inputs.tolist() == [10, 100, 13, 14, 101, 16]
    assert labels.tolist() == [100, 11, 12, 101, 15, END_OF_TEXT]


def test_as_much_is_cut_as_asked_for() -> None:
    assert counts(CorruptionConfig(), 256) == (38, 13)
    assert counts(CorruptionConfig(), 2) == (1, 1)
    assert counts(CorruptionConfig(0.9, 1.0), 10) == (9, 1)
    chance = np.random.default_rng(0)
    found = np.zeros(100)
    for _ in range(4000):
        for begin, end in holes(CorruptionConfig(), 100, chance):
            found[begin:end] += 1
    assert found[5:].mean() / 4000 == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("wrong", [{"density": 0.0}, {"density": 1.0}, {"mean_span": 0.5}])
def test_values_out_of_range_name_the_key(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        CorruptionConfig(**wrong)
