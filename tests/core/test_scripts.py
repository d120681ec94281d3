"""Scripts without spaces: the ranges are in order, apart, and hold the letters that they name."""

import unicodedata
from itertools import pairwise

import pytest

from privllm.core.scripts import UNSPACED_BLOCKS, WORD_SEPARATORS

NAMES = ("THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER", "HIRAGANA", "KATAKANA", "CJK", "YI", "VAI", "HALFWIDTH", "TAI")


def is_unspaced(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in UNSPACED_BLOCKS)


def test_ranges_ascend_and_do_not_meet() -> None:
    for (first, last), (next_first, _) in pairwise(UNSPACED_BLOCKS):
        assert first <= last < next_first


@pytest.mark.parametrize(
    "text", ["\u4e2d\u6587", "\u3072\u30ab", "\u0e44\u0e97", "\u0ea5\u0eb2", "\u0f56", "\u1000", "\u1781", "\ua500"]
)
def test_letters_without_spaces(text: str) -> None:
    assert all(map(is_unspaced, text))
    assert all(unicodedata.name(character).startswith(NAMES) for character in text)


@pytest.mark.parametrize(
    "text", ["word", "\u0441\u043b\u043e\u0432\u043e", "\ud55c\uad6d", "\u12a0\u121b", "\u0928", WORD_SEPARATORS]
)
def test_letters_with_spaces(text: str) -> None:
    assert not any(map(is_unspaced, text))
