import json
from pathlib import Path

import gigatoken
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from privllm.core.special_tokens import PLACEHOLDERS, SPECIAL_TOKENS
from privllm.tokens.encode import Encoder, without_specials

AWKWARD = [
    *SPECIAL_TOKENS,
    *PLACEHOLDERS,
    "<|endoftext",
    "<EMA",
    "    ",
    "\n\n",
    "\r\n",
    "\t",
    " \u00a0\u2028",
    "'Ll",
    "ſ",
    "1234",
    "٣",
    "e\u0301",
    "👩‍👩‍👧",
    "\u0c5c",
    "\x00",
]
TEXTS = st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=12)), max_size=12).map("".join)


@pytest.fixture(scope="module")
def encoder(tokenizer: Path) -> Encoder:
    return Encoder.open(tokenizer)


@pytest.fixture(scope="module")
def all_pairs(tokenizer: Path) -> Encoder:
    """Merges any two bytes within a word, so that another split into words always gives other ids."""
    parts = json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [[a, b] for a in alphabet for b in alphabet]
    parts["model"]["vocab"] = {token: i for i, token in enumerate(alphabet + [a + b for a, b in merges])}
    parts["model"]["merges"] = merges
    parts["added_tokens"] = []
    return Encoder(json.dumps(parts))


@given(st.lists(TEXTS, min_size=1, max_size=5))
@settings(max_examples=120, deadline=None)
def test_gives_the_ids_of_tokenizers_and_gives_the_text_back(encoder: Encoder, texts: list[str]) -> None:
    for text, tokens in zip(texts, encoder.encode(texts), strict=True):
        assert tokens.dtype == "int32"
        assert tokens.tolist() == encoder.reference.encode(text).ids
        assert encoder.decode(tokens) == text
        assert encoder.reference.decode(tokens.tolist(), skip_special_tokens=False) == text


@pytest.mark.slow
@given(text=TEXTS)
@settings(max_examples=80, deadline=None)
def test_words_are_split_alike(all_pairs: Encoder, text: str) -> None:
    assert all_pairs.encode([text])[0].tolist() == all_pairs.reference.encode(text).ids


@pytest.mark.slow
def test_words_are_split_alike_all_over_unicode(all_pairs: Encoder) -> None:
    blocks = [
        (0x3400, 0x9FF0),
        (0xAC00, 0xD7A0),
        (0xE000, 0xF900),
        (0x12000, 0x14600),
        (0x17000, 0x187F0),
    ]  # Han, Hangul, private, ...
    skipped = {c for begin, end in blocks for c in range(begin, end) if c % 16} | set(range(0xD800, 0xE000))
    points = [
        *range(0x20000),
        *range(0x2B700, 0x2B750),
        *range(0x2CE90, 0x2CEB2),
        *range(0x32390, 0x323D0),
        *range(0x33460, 0x33490),
    ]
    texts = [f"t{chr(c)}e1{chr(c)},{chr(c)} {chr(c)}\n" for c in points if c not in skipped]
    expected = all_pairs.reference.encode_batch_fast(texts)
    differing = [
        text
        for text, ours, theirs in zip(texts, all_pairs.encode(texts), expected, strict=True)
        if ours.tolist() != theirs.ids
    ]
    assert differing == []


def test_the_list_of_disputed_letters_is_still_needed(all_pairs: Encoder) -> None:
    fast = gigatoken.Tokenizer.from_json(all_pairs.reference.to_str())
    for letter in "\u0c5c\U00010940\U00033479":
        assert fast.encode(f"t{letter}e").tolist() != all_pairs.reference.encode(f"t{letter}e").ids


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_a_special_token_in_a_text_is_plain_text(encoder: Encoder, tokenizer: Path, special: str) -> None:
    text = f"see {special}{special} and <|{special}|>"
    naive = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert SPECIAL_TOKENS.index(special) in naive.encode(text).ids  # what an unguarded encoder would do
    for ids in (encoder.encode([text])[0].tolist(), encoder.reference.encode(text).ids):
        assert not set(ids) & set(range(len(SPECIAL_TOKENS)))
        assert encoder.decode(encoder.encode([text])[0]) == text


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_is_one_token_in_both_engines(encoder: Encoder, placeholder: str) -> None:
    expected = len(SPECIAL_TOKENS) + PLACEHOLDERS.index(placeholder)
    assert encoder.encode([f"a{placeholder}b"])[0].tolist().count(expected) == 1
    assert encoder.encode([placeholder])[0].tolist() == encoder.reference.encode(placeholder).ids == [expected]


@pytest.mark.parametrize("text", ["a" * 100_000, " " * 100_000 + "x", "\n" * 100_000, "!?" * 50_000, "7" * 100_000])
def test_long_runs_are_exact(encoder: Encoder, text: str) -> None:
    assert encoder.encode([text])[0].tolist() == encoder.reference.encode(text).ids


def test_no_text_is_no_tokens(encoder: Encoder) -> None:
    assert [tokens.tolist() for tokens in encoder.encode(["", ""])] == [[], []]
    assert encoder.encode([]) == []


def test_without_specials_keeps_ids(tokenizer: Path) -> None:
    text = (tokenizer / "tokenizer.json").read_text("utf-8")
    plain, full = Tokenizer.from_str(without_specials(text)), Tokenizer.from_str(text)
    assert plain.get_vocab() == full.get_vocab()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("", {}),
        ("normalizer", {"type": "Lowercase"}),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}),
        ("model", {"ignore_merges": True}),
    ],
)
def test_only_what_was_compared_is_left_to_the_fast_engine(tokenizer: Path, part: str, change: dict) -> None:
    parts = json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))
    if part:
        parts[part] = (parts[part] if part == "model" else {}) | change
    encoder = Encoder(json.dumps(parts))
    assert (encoder._fast is None) is bool(part)
    for text in ("The HOUSE, it's 1984", "naïve 🦉"):
        ids = encoder.encode([text])[0]
        assert ids.tolist() == encoder.reference.encode(text).ids
        assert encoder.decode(ids) == (text.lower() if part == "normalizer" else text)
