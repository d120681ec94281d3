import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.evaluate.slices import Tally, bootstrap_interval, parts_of_speech, token_bytes, top_folder


def sizes_of(*tokens: bytes) -> np.ndarray:
    return np.array([len(token) for token in tokens])


def test_a_token_takes_the_tag_of_its_first_character_that_is_no_space() -> None:
    text = "A naïve cat\n"
    words = {"token_start": [0, 2, 8], "token_end": [1, 7, 11], "pos": ["DET", "ADJ", "NOUN"]}
    sizes = sizes_of(b"A", b" na", "ï".encode()[:1], "ï".encode()[1:] + b"v", b"e ", b"c", b"at", b"\n")
    assert parts_of_speech(text, sizes, words).tolist() == ["DET", "ADJ", "ADJ", "ADJ", "ADJ", "NOUN", "NOUN", "SPACE"]


def test_bytes_within_one_character_share_its_tag() -> None:
    words = {"token_start": [1, 3], "token_end": [2, 4], "pos": ["SYM", "NOUN"]}
    assert parts_of_speech("x🙂y数", sizes_of(b"x", b"1", b"23", b"4", b"y", b"123"), words).tolist() == [
        "unannotated",
        "SYM",
        "SYM",
        "SYM",
        "unannotated",
        "NOUN",
    ]


def test_a_document_without_annotation() -> None:
    assert parts_of_speech("a b", np.array([1, 1, 1]), {}).tolist() == ["unannotated", "SPACE", "unannotated"]


def test_tokens_must_cover_the_text() -> None:
    with pytest.raises(AssertionError, match="text of 3"):
        parts_of_speech("cat", np.array([1, 1]), {})


@given(st.text(min_size=1, max_size=30), st.data())
def test_one_token_per_character_is_tagged_by_that_character(text: str, data: st.DataObject) -> None:
    text = text.encode("utf-8", "ignore").decode() or "x"
    ends = sorted(data.draw(st.sets(st.integers(1, len(text)), min_size=1)))
    spans = {"token_start": [0, *ends[:-1]], "token_end": ends, "pos": [f"P{end}" for end in ends]}
    tags = parts_of_speech(text, np.array([len(c.encode()) for c in text]), spans).tolist()
    covering = [next((f"P{end}" for end in ends if i < end), "unannotated") for i in range(len(text))]
    assert tags == ["SPACE" if c.isspace() else tag for c, tag in zip(text, covering, strict=True)]


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 20), st.booleans()), min_size=2), st.data())
def test_parts_add_up_to_the_whole(tokens: list, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(tokens) - 1))
    whole, parts = Tally(), Tally()
    whole.add(*map(np.array, zip(*tokens, strict=True)))
    for part in (tokens[:cut], tokens[cut:]):
        parts.add(*map(np.array, zip(*part, strict=True)))
    assert (whole.tokens, whole.bytes, whole.correct) == (parts.tokens, parts.bytes, parts.correct)
    assert whole.nats == pytest.approx(parts.nats)


def test_figures_of_a_uniform_guess() -> None:
    tally = Tally()
    tally.add(np.array([1, 3]), np.array([math.log(256)] * 2), np.array([True, False]))
    assert tally.figures() == {"tokens": 2, "perplexity": 256.0, "bits_per_byte": 4.0, "accuracy": 0.5}


def test_byte_level_names_are_as_long_as_their_bytes() -> None:
    assert token_bytes({"Ġthe": 1, "Ã¯": 0, "<EMAIL>": 3}).tolist() == [2, 4, 0, 7]


def test_top_folder() -> None:
    assert [top_folder(s) for s in ("a/b/c.txt", "c.txt", "a/x.jsonl#12")] == ["a", ".", "a"]


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
