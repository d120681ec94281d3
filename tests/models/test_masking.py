import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.records import POS_TAGS
from privllm.core.special_tokens import END_OF_TEXT, MASK, own_ids
from privllm.models.masking import LONGEST_WORD, WORDS_IN_BUDGET, MaskingConfig, choose, cover
from privllm.models.word_units import Lexicon, units_of
from privllm.tokens.token_bytes import byte_level

NAMES = [
    "<|endoftext|>",
    "<|pad|>",
    "<|mask|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "Ġthe",
    "Ġva",
    "lve",
    "s",
    ".",
    "Ġ12",
    "34",
    "Ċ",
    "Ã",
    "¯ve",
]
SPECIALS = 6  # ids below are no text
LEXICON = Lexicon(byte_level({name: i for i, name in enumerate(NAMES)}), range(6))
ID = {name: i for i, name in enumerate(NAMES)}
NOTHING = np.full(1000, -1, np.int32)


def ids(*names: str) -> np.ndarray:
    return np.array([ID[name] for name in names], np.int32)


def test_words_go_on_from_letter_to_letter_and_digit_to_digit() -> None:
    text = ids("Ġthe", "Ġva", "lve", "s", ".", "Ġ12", "34", "Ċ", "s", "Ã", "¯ve", "<|endoftext|>", "s")
    assert LEXICON.goes_on(text).tolist() == [
        False,
        False,
        True,
        True,
        False,
        False,
        True,
        False,
        False,
        True,
        True,
        False,
        False,
    ]


@given(
    st.lists(st.integers(0, len(NAMES) - 1), min_size=1, max_size=60),
    st.floats(0.05, 0.9),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_whole_words_are_chosen_up_to_the_budget_and_boundaries_never(
    tokens: list[int], rate: float, whole: bool, seed: int
) -> None:
    row = np.array(tokens, np.int32)
    chosen = choose(
        MaskingConfig(rate, whole),
        row,
        LEXICON,
        np.zeros(len(row), np.uint8),
        NOTHING[: len(row)],
        own_ids(LEXICON.size),
        np.random.default_rng(seed),
    )
    assert not chosen[row == END_OF_TEXT].any()
    budget = max(1, round(rate * len(row)))
    words = units_of(LEXICON, row, max(LONGEST_WORD, budget // WORDS_IN_BUDGET)) if whole else np.arange(len(row))
    for word in np.unique(words):
        assert len(set(chosen[(words == word) & (row != END_OF_TEXT)])) <= 1
    longest = max(np.unique(words, return_counts=True)[1])
    assert min(budget, int((row != END_OF_TEXT).sum())) <= chosen.sum() < budget + longest


def test_spans_are_hidden_whole_and_first() -> None:
    row = ids(*["Ġthe", "Ġva", "lve", "s"] * 10)
    span = np.array([-1, 0, 0, 0] * 5 + [-1] * 20, np.int32)
    span[span == 0] += np.repeat(np.arange(5), 3)
    for seed in range(20):
        cfg = MaskingConfig(rate=0.15, spans=1.0)
        chosen = choose(
            cfg, row, LEXICON, np.zeros(40, np.uint8), span, own_ids(LEXICON.size), np.random.default_rng(seed)
        )
        assert chosen[20:].sum() == 0
        assert {int(chosen[span == number].sum()) for number in range(5)} <= {0, 3}
        assert chosen.sum() == 6


def test_a_span_or_a_word_of_a_whole_row_is_not_hidden_whole() -> None:
    """An entity may have any length, and a row of letters is one word."""
    row = np.full(200, ID["lve"], np.int32)
    one_span = np.repeat([7, -1, 7], [50, 20, 130]).astype(np.int32)
    for seed in range(20):
        for cfg, span in ((MaskingConfig(spans=0.5), one_span), (MaskingConfig(), NOTHING[:200])):
            chosen = choose(
                cfg, row, LEXICON, np.zeros(200, np.uint8), span, own_ids(LEXICON.size), np.random.default_rng(seed)
            )
            assert 60 <= chosen.sum() <= 70


def test_a_part_of_speech_that_weighs_more_is_chosen_more() -> None:
    row = np.full(200, ID["Ġthe"], np.int32)
    pos = np.array([POS_TAGS.index("NOUN"), POS_TAGS.index("DET")] * 100, np.uint8)
    counts = np.zeros(2)
    for seed in range(200):
        cfg = MaskingConfig(rate=0.05, weights_by_pos={"NOUN": 3.0})
        chosen = choose(cfg, row, LEXICON, pos, NOTHING[:200], own_ids(LEXICON.size), np.random.default_rng(seed))
        counts += [chosen[::2].sum(), chosen[1::2].sum()]
    assert counts[0] / counts[1] == pytest.approx(3.0, rel=0.15)


def test_eight_in_ten_are_masked_one_made_up_one_left() -> None:
    row = np.full(20_000, ID["lve"], np.int32)
    chosen = np.arange(20_000) % 2 == 0
    seen = cover(row, chosen, own_ids(LEXICON.size), np.random.default_rng(0))
    assert (seen[~chosen] == row[~chosen]).all()
    assert (seen[chosen] == MASK).mean() == pytest.approx(0.8, abs=0.02)
    others = seen[chosen & (seen != MASK)]
    assert (others >= SPECIALS).all()
    assert (others == ID["lve"]).mean() == pytest.approx(0.5 + 0.5 / (len(NAMES) - SPECIALS), abs=0.03)


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"spans": 1.5}, {"weights_by_pos": {"NOON": 1.0}}, {"weights_by_pos": {"NOUN": 0.0}}]
)
def test_values_out_of_range_name_the_key(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        MaskingConfig(**wrong)
