import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.tokens.annotation_alignment import entities, parts_of_speech, spans_of


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


def test_several_tokens_of_one_character_share_its_tag_wherever_it_stands() -> None:
    """As where a vocabulary writes "½" as "1", "⁄" and "2": the later ones have no byte of their own."""
    words = {"token_start": [0, 2], "token_end": [1, 5], "pos": ["NUM", "NOUN"]}
    sizes = np.array([2, 0, 0, 4, 0])
    assert parts_of_speech("½ cup", sizes, words).tolist() == ["NUM", "NUM", "NUM", "NOUN", "NOUN"]
    assert spans_of("½ cup", sizes, words | {"entity_start": [0], "entity_end": [1]}, 8).tolist() == [0, 0, 0, -1, -1]
    assert parts_of_speech("½", np.array([2, 0, 0]), {}).tolist() == ["unannotated"] * 3
    assert (
        parts_of_speech("\x07", np.zeros(0, np.int64), {}).tolist() == []
    )  # a text of which a vocabulary keeps nothing


def test_a_token_has_the_type_of_the_entity_it_lies_in() -> None:
    words = {"token_start": [0, 4, 8, 13], "token_end": [3, 7, 12, 18], "pos": ["VERB", "PROPN", "PROPN", "NOUN"]}
    marked = words | {"entity_start": [4], "entity_end": [12], "entity_label": ["GPE"]}
    sizes = sizes_of(b"see", b" New", b" ", b"Yo", b"rk", b" today", b" or not")
    assert entities("see New York today or not", sizes, marked).tolist() == [
        "outside", "GPE", "SPACE", "GPE", "GPE", "outside", "unannotated",
    ]  # fmt: skip
    assert entities("a b", np.array([1, 1, 1]), {}).tolist() == ["unannotated", "SPACE", "unannotated"]


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


TREE = {  # "The old valve leaks near the big pump ." with its dependencies; "big pump" is also an entity
    "token_start": [0, 4, 8, 14, 20, 25, 29, 33, 38],
    "token_end": [3, 7, 13, 19, 24, 28, 32, 37, 39],
    "pos": ["DET", "ADJ", "NOUN", "VERB", "ADP", "DET", "ADJ", "NOUN", "PUNCT"],
    "head": [2, 2, 3, 3, 3, 7, 7, 4, 3],
    "entity_start": [29],
    "entity_end": [37],
}
TEXT = "The old valve leaks near the big pump ."


def test_entities_first_then_the_longest_phrases_that_fit() -> None:
    words = TEXT.split()
    sizes = np.array([len(word) + (i > 0) for i, word in enumerate(words)])
    # "near the big pump" and "the big pump" meet the entity; "The old valve" does not.
    assert spans_of(TEXT, sizes, TREE, 8).tolist() == [1, 1, 1, -1, -1, -1, 0, 0, -1]
    without = TREE | {"entity_start": [], "entity_end": []}
    assert spans_of(TEXT, sizes, without, 8).tolist() == [1, 1, 1, -1, 0, 0, 0, 0, -1]
    assert spans_of(TEXT, sizes, without, 3).tolist() == [0, 0, 0, -1, -1, 1, 1, 1, -1]
    assert spans_of(TEXT, sizes, {}, 8).tolist() == [-1] * 9


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10), st.integers(2, 6))
def test_phrases_are_the_subtrees_of_the_obvious_definition(links: list[int], max_words: int) -> None:
    """Any tree: word i hangs on a word before it, or is a root; all words are nouns of one letter."""
    heads = [link % i if i else 0 for i, link in enumerate(links)]
    text = " ".join("x" * len(heads))
    places = {"token_start": list(range(0, 2 * len(heads), 2)), "token_end": list(range(1, 2 * len(heads) + 1, 2))}
    annotation = places | {"pos": ["NOUN"] * len(heads), "head": heads, "entity_start": [], "entity_end": []}

    def below(word: int) -> set[int]:
        return {word}.union(*(below(i) for i, head in enumerate(heads) if head == word and i != word))

    whole = [sorted(below(word)) for word in range(len(heads))]
    fitting = [tree for tree in whole if 2 <= len(tree) <= max_words and tree[-1] - tree[0] + 1 == len(tree)]
    expected = [-1] * len(heads)
    number = 0
    for tree in sorted(fitting, key=lambda tree: (-len(tree), tree)):
        if all(expected[word] < 0 for word in tree):
            expected = [number if word in tree else value for word, value in enumerate(expected)]
            number += 1
    sizes = np.array([1] + [2] * (len(heads) - 1))
    assert spans_of(text, sizes, annotation, max_words).tolist() == expected
