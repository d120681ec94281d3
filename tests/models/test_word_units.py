"""Words of tokens, against a slow implementation character by character, and in ten scripts."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from privllm.core.special_tokens import SPECIAL_TOKENS, own_ids
from privllm.models.masking import MaskingConfig, choose
from privllm.models.word_units import (
    JOINERS,
    LAST_CODE_POINT,
    WITHOUT_SPACES,
    Lexicon,
    kinds_of_characters,
    units_of,
)
from privllm.tokens.encode import WORDS
from privllm.tokens.token_bytes import byte_level

# The beginning of the Universal Declaration of Human Rights in ten scripts (the Unicode Consortium's UDHR project;
# public domain).
DECLARATION: dict[str, str] = json.loads((Path(__file__).parent / "declaration.json").read_text("utf-8"))


def tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """A byte-level BPE as `tokens.vocabulary` learns it; with 262 ids each byte is a token."""
    learnt = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    learnt.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    learnt.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    learnt.train_from_iterator(texts, trainer)
    learnt.encode_special_tokens = True  # as text, of which Hypothesis may make their names
    return learnt


BYTES = tokenizer([], 262)
LEARNT = tokenizer(list(DECLARATION.values()), 1500)


def words_of(text: str, encoding: Tokenizer = BYTES) -> list[str]:
    """The words of a text, put together from its tokens."""
    tokens = np.array(encoding.encode(text).ids)
    units = units_of(Lexicon(byte_level(encoding.get_vocab()), range(6)), tokens, 1000)
    return [encoding.decode(tokens[units == unit].tolist()) for unit in range(units[-1] + 1)]


def obvious_words(text: str) -> list[str]:
    """Character by character."""
    words: list[str] = []
    base_before = ""
    for character in text:
        category = unicodedata.category(character)[0]
        is_mark = category == "M" or ord(character) in JOINERS
        base = base_before if is_mark else category
        is_alone = not is_mark and any(first <= ord(character) <= last for first, last in WITHOUT_SPACES)
        if is_alone and category in "LN":
            base = "alone"
        goes_on = base_before in ("L", "N", "alone") if is_mark else base == base_before and base in ("L", "N")
        if words and goes_on:
            words[-1] += character
        else:
            words.append(character)
        base_before = base
    return words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The valve 12345.", ["The", " ", "valve", " ", "12345", "."]),
        ("mother-of-pearl", ["mother", "-", "of", "-", "pearl"]),
        ("here\u2014there", ["here", "\u2014", "there"]),
        ("don\u2019t \u201csay\u201d", ["don", "\u2019", "t", " ", "\u201c", "say", "\u201d"]),
        ("na\u00efve a\u0301ge", ["na\u00efve", " ", "a\u0301ge"]),
        ("\u6771\u4eac\u30bf\u30ef\u30fc", ["\u6771", "\u4eac", "\u30bf", "\u30ef", "\u30fc"]),
        ("\u0e2a\u0e35\u0e48\u0e04\u0e19", ["\u0e2a\u0e35\u0e48", "\u0e04", "\u0e19"]),
        ("\u0915\u094d\u200d\u0937 \u0996", ["\u0915\u094d\u200d\u0937", " ", "\u0996"]),
        ("\u0663\u0664x", ["\u0663\u0664", "x"]),
        ("\U0001f600\U0001f600", ["\U0001f600", "\U0001f600"]),
    ],
)
def test_words_end_where_their_characters_say(text: str, words: list[str]) -> None:
    assert words_of(text) == words == obvious_words(text)


@example("<|user|>")
@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30))
def test_words_of_bytes_are_those_of_the_obvious_implementation(text: str) -> None:
    assert words_of(text) == obvious_words(text)


@pytest.mark.parametrize("script", DECLARATION)
def test_learnt_tokens_begin_a_word_where_their_first_character_does(script: str) -> None:
    """A token of several words is the least that can be hidden, so words are joined but never cut."""
    text = DECLARATION[script]
    ends, obvious_ends = (
        {sum(map(len, words[:i])) for i in range(len(words))} for words in (words_of(text, LEARNT), obvious_words(text))
    )
    assert ends <= obvious_ends
    assert "".join(words_of(text, LEARNT)) == text


@pytest.mark.parametrize("encoding", [BYTES, LEARNT], ids=["bytes", "learnt"])
@pytest.mark.parametrize("script", DECLARATION)
def test_three_in_ten_tokens_are_hidden_in_every_script(script: str, encoding: Tokenizer) -> None:
    assert len(DECLARATION) == 10
    lexicon = Lexicon(byte_level(encoding.get_vocab()), range(6))
    tokens = np.array(encoding.encode(DECLARATION[script]).ids)[:256]
    nothing = np.full(len(tokens), -1, np.int32)
    no_tags = np.zeros(len(tokens), np.uint8)
    shares = []
    for seed in range(50):
        chosen = choose(
            MaskingConfig(), tokens, lexicon, no_tags, nothing, own_ids(lexicon.size), np.random.default_rng(seed)
        )
        shares.append(chosen.mean())
    assert abs(np.mean(shares) - 0.3) < 0.03
    assert max(shares) < 0.4


def test_a_long_word_is_cut_between_characters() -> None:
    lexicon = Lexicon(byte_level(BYTES.get_vocab()), range(6))
    tokens = np.array(BYTES.encode("\u0434" * 20).ids)  # a letter of two bytes
    units = units_of(lexicon, tokens, 7)
    assert units.tolist() == sorted(units.tolist())
    sizes = np.bincount(units)
    assert (sizes % 2 == 0).all()
    assert sizes.max() <= 8
    assert len(sizes) == 6


def test_a_row_that_begins_or_ends_inside_a_character_has_words_too() -> None:
    lexicon = Lexicon(byte_level(BYTES.get_vocab()), range(6))
    tokens = np.array(BYTES.encode("\u0434\u0430 \u6771").ids)
    assert lexicon.goes_on(tokens).tolist() == [False, True, True, True, False, False, True, True]
    assert lexicon.goes_on(tokens[1:-1]).tolist() == [False, False, True, False, False, True]


def test_a_special_token_ends_a_word() -> None:
    lexicon = Lexicon(byte_level(BYTES.get_vocab()), range(6))
    a = BYTES.token_to_id("a")
    assert lexicon.goes_on(np.array([a, a, 0, a, a])).tolist() == [False, True, False, False, True]


def test_every_letter_number_and_mark_has_its_kind() -> None:
    """Also those of the planes that the table does not visit."""
    kinds = kinds_of_characters()
    for code_point in range(0x40000, LAST_CODE_POINT + 1):
        if unicodedata.category(chr(code_point))[0] in "LMN":
            assert kinds[code_point]
