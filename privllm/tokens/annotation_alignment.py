"""Alignment of annotations with tokens: each token's part of speech, and the annotated span it lies in.

A token's part of speech is that of the annotated word which covers the token's first character that
is not white space; a token of white space only is "SPACE", one that no word covers "unannotated"
(annotation has a budget: whole documents and the ends of long ones are left out). Spans likewise.
Places are computed from the bytes of the tokens, so they are right inside multi-byte characters too.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from privllm.core.records import POS_TAGS

UNCOVERED, WHITE = POS_TAGS[:2]
OUTSIDE = "outside"  # of every entity, in an annotated word
PHRASES = {
    "NOUN",
    "PROPN",
    "VERB",
    "ADP",
    "NUM",
    "ADJ",
    "PRON",
}  # a subtree below one of these is a phrase that reads as a whole


def parts_of_speech(text: str, sizes: np.ndarray, annotation: Mapping[str, list]) -> np.ndarray:
    """Return the part of speech (str [tokens]) of the tokens of `text`, whose bytes are `sizes`.

    `annotation` is a row of records.ANNOTATIONS (token_start, token_end in code points, pos), or {}
    for a document without one.
    """
    tags = np.full(len(text) + 1, UNCOVERED, object)
    for begin, end, pos in _rows_of(annotation, "token_start", "token_end", "pos"):
        tags[begin:end] = pos
    places, is_white = _places(text, sizes)
    return np.where(is_white, WHITE, tags[places])


def entities(text: str, sizes: np.ndarray, annotation: Mapping[str, list]) -> np.ndarray:
    """Return the type of the entity (str [tokens]) that each token lies in.

    It is OUTSIDE for other annotated tokens, and the part of speech for tokens of no word.
    """
    labels = np.full(len(text) + 1, OUTSIDE, object)
    for begin, end, label in _rows_of(annotation, "entity_start", "entity_end", "entity_label"):
        labels[begin:end] = label
    places, _ = _places(text, sizes)
    pos = parts_of_speech(text, sizes, annotation)
    is_no_word = np.isin(pos.astype(str), (UNCOVERED, WHITE))
    return np.where(is_no_word, pos, labels[places])


def spans_of(
    text: str,
    sizes: np.ndarray,
    annotation: Mapping[str, list],
    max_words: int,
) -> np.ndarray:
    """Return the number (int32 [tokens], from 0; -1 outside) of the span that each token lies in.

    A span is an entity or a phrase: a dependency subtree of 2 to `max_words` adjacent words. Spans do
    not overlap: entities come first, then longer phrases before shorter ones.
    """
    numbers = np.full(len(text) + 1, -1, np.int32)
    entity_spans = _rows_of(annotation, "entity_start", "entity_end")
    for begin, end in [*entity_spans, *_phrases(annotation, max_words)]:
        if (numbers[begin:end] < 0).all():
            numbers[begin:end] = numbers.max() + 1
    places, is_white = _places(text, sizes)
    return np.where(is_white, -1, numbers[places]).astype(np.int32)


def _rows_of(annotation: Mapping[str, list], *columns: str) -> Iterator[tuple]:
    """Return the rows of these columns of an annotation; none where it is {}."""
    return zip(*(annotation.get(column, ()) for column in columns), strict=True)


def _phrases(annotation: Mapping[str, list], max_words: int) -> list[tuple[int, int]]:
    """Return (begin, end) of phrases in code points, longest first."""
    heads = annotation.get("head", ())
    count = len(heads)
    # of each word's subtree, which is the word itself until others turn out to depend on it
    first_word = list(range(count))
    last_word = list(range(count))
    size = [1] * count
    for word in range(count):
        head = word
        while heads[head] != head and size[heads[head]] <= max_words:  # a larger subtree is no phrase anyway
            head = heads[head]
            first_word[head] = min(first_word[head], word)
            last_word[head] = max(last_word[head], word)
            size[head] += 1
    phrases = []
    for word in range(count):
        has_gap = last_word[word] - first_word[word] + 1 > size[word]
        has_length = 2 <= size[word] <= max_words
        if has_length and not has_gap and annotation["pos"][word] in PHRASES:
            phrases.append((-size[word], first_word[word], last_word[word]))
    phrases.sort()
    starts, ends = annotation.get("token_start", ()), annotation.get("token_end", ())
    return [(starts[first], ends[last]) for _, first, last in phrases]


def _places(text: str, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (int64 [tokens], bool [tokens]).

    They are each token's first character that is not white space, and whether it has none.
    """
    if not len(sizes):
        return np.zeros(0, np.int64), np.zeros(0, bool)
    encoded = np.frombuffer(text.encode(), np.uint8)
    byte_count = int(sizes.sum())
    assert byte_count == len(encoded), f"tokens of {byte_count} bytes for a text of {len(encoded)}"
    begins_character = (encoded & 0xC0) != 0x80  # other bytes continue one
    character = np.cumsum(begins_character) - 1  # of each byte
    ends = np.cumsum(sizes)
    last_byte = np.maximum(ends - 1, 0)
    # Where several tokens share a character, the later ones have no byte of their own.
    first_byte = np.minimum(ends - sizes, last_byte)
    first_character, last_character = character[first_byte], character[last_byte]
    first_not_white = _next_not_white(text)[first_character]
    return np.minimum(first_not_white, len(text)), first_not_white > last_character


def _next_not_white(text: str) -> np.ndarray:
    """Return for each character the next place, from it on, without white space; len(text) if there is none."""
    is_white = np.array([character.isspace() for character in text], bool)
    places = np.where(is_white, len(text), np.arange(len(text)))
    smallest_from_the_end = np.minimum.accumulate(places[::-1])
    return smallest_from_the_end[::-1]
