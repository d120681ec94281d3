"""Shingles against the obvious implementation: tuples of words in Python sets."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.dedup.shingles import _mix, jaccard, shingle_sets, shingles

LETTERS = "abcABC éÉßЖж.,-_'\n\t1"


def plain(text: str, words: int) -> set[tuple[str, ...]]:
    text_words = re.findall(r"\w+", text.lower())
    return (
        {tuple(text_words[i : i + words]) for i in range(max(1, len(text_words) - words + 1))} if text_words else set()
    )


def plain_jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


@given(st.lists(st.text(LETTERS, max_size=60), max_size=6), st.integers(1, 6))
def test_as_many_shingles_as_tuples_of_words(texts: list[str], words: int) -> None:
    assert [len(text_shingles) for text_shingles in shingle_sets(texts, words)] == [
        len(plain(text, words)) for text in texts
    ]


@given(st.text(LETTERS, max_size=60), st.text(LETTERS, max_size=60), st.integers(1, 6))
def test_jaccard_is_that_of_the_tuples(one: str, other: str, words: int) -> None:
    left, right = shingle_sets([one, other], words)
    assert jaccard(left, right) == pytest.approx(plain_jaccard(plain(one, words), plain(other, words)))


@given(st.lists(st.text(LETTERS, max_size=40), max_size=8), st.integers(1, 5))
def test_a_text_has_its_shingles_in_any_company(texts: list[str], words: int) -> None:
    hashes, offsets = shingles(texts, words)
    alone = [shingles([text], words)[0] for text in texts]
    assert offsets.tolist() == [0, *np.cumsum([len(text_shingles) for text_shingles in alone], dtype=int).tolist()]
    assert np.array_equal(hashes, np.concatenate([np.zeros(0, np.uint64), *alone]))


def test_texts_longer_than_a_batch_agree_with_the_oracle() -> None:
    rng = np.random.default_rng(5)
    text = " ".join(f"word{number}" for number in rng.integers(0, 900, 60_000))
    assert len(text) > 1 << 18
    before, long, after = shingle_sets(["one two three", text, "one two three"], 5)
    assert len(long) == len(plain(text, 5))
    assert np.array_equal(before, after)


def test_case_and_punctuation_do_not_count() -> None:
    first, second = shingle_sets(["The cat (sat) on the mat.", "the CAT sat -- on the mat"], 5)
    assert np.array_equal(first, second)
    assert len(first) == 2


def test_order_of_words_counts_in_short_texts_too() -> None:
    sets = shingle_sets(["a b", "b a", "ab", "a b c"], 5)
    assert [len(text_shingles) for text_shingles in sets] == [1, 1, 1, 1]
    assert len(np.unique(np.concatenate(sets))) == 4


def test_texts_without_words_have_no_shingles() -> None:
    hashes, offsets = shingles(["", "... !?", " \n"], 5)
    assert len(hashes) == 0
    assert offsets.tolist() == [0, 0, 0, 0]
    assert jaccard(hashes, hashes) == 0.0


def test_no_texts() -> None:
    hashes, offsets = shingles([], 5)
    assert len(hashes) == 0
    assert offsets.tolist() == [0]


def test_scripts_without_spaces_have_a_word_a_character() -> None:
    assert [len(text_shingles) for text_shingles in shingle_sets(["我们今天去公园", "hello我们now今天"], 5)] == [3, 2]


def test_characters_beyond_the_basic_plane_differ() -> None:
    sets = shingle_sets(["x 😀", "x 😁", "𠀀𠀁𠀂", "𠀀𠀁𠀃"], 1)
    assert len(np.unique(np.concatenate(sets))) == 1 + 2 + 4


def test_hashes_do_not_depend_on_the_process() -> None:
    code = "from privllm.dedup.shingles import shingles; print(shingles(['The cat sat on the mat.'], 5)[0].tolist())"
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert printed.strip() == str(shingles(["The cat sat on the mat."], 5)[0].tolist())


@pytest.mark.parametrize("characters", [(1 << 18) - 1, 1 << 18, (1 << 18) + 1])
def test_texts_as_long_as_a_power_of_two(characters: int) -> None:
    """With the line that ends it a text is as long as the table of powers, or one longer."""
    assert len(shingle_sets([("a " * characters)[:characters]], 5)[0]) == 1


def test_the_mixer_is_that_of_murmurhash3() -> None:
    def plain_mix(value: int) -> int:
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            value = (value ^ value >> 33) * factor % (1 << 64)
        return value ^ value >> 33

    values = [1, 2, 0xDEADBEEF, 1 << 63, (1 << 64) - 1]
    assert plain_mix(1) == 0xB456BCFC34C2CB2C  # as published
    assert _mix(np.array(values, np.uint64)).tolist() == [plain_mix(value) for value in values]
