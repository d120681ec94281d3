"""From annotations of characters to tokens: each token's part of speech, and the annotated span it lies in.

A token's part of speech is that of the annotated word which covers the token's first character that is no white space; a token of
white space only is "SPACE", one that no word covers "unannotated" (annotation has a budget: whole documents and the ends of long ones are
left out). Spans likewise. Places are computed from the bytes of the tokens, so they hold inside multi-byte characters too.
"""

from collections.abc import Mapping

import numpy as np

from privllm.core.records import POS_TAGS

UNCOVERED, WHITE = POS_TAGS[:2]
OUTSIDE = "outside"  # of every entity, in an annotated word
PHRASES = {"NOUN", "PROPN", "VERB", "ADP", "NUM", "ADJ", "PRON"}  # a subtree below one of these is a phrase that reads as a whole


def token_bytes(vocabulary: Mapping[str, int]) -> np.ndarray:
    """UTF-8 bytes of each token id: in a byte-level vocabulary every character of a token's name stands for one byte."""
    sizes = np.zeros(max(vocabulary.values()) + 1, np.int64)
    for name, index in vocabulary.items():
        sizes[index] = len(name)
    return sizes


def parts_of_speech(text: str, sizes: np.ndarray, annotation: Mapping[str, list]) -> np.ndarray:
    """The part of speech (str [tokens]) of the tokens of `text`, whose bytes are `sizes`.

    `annotation` is a row of records.ANNOTATIONS (token_start, token_end in code points, pos), or {} for a document without one.
    """
    tags = np.full(len(text) + 1, UNCOVERED, object)
    for begin, end, pos in zip(*(annotation.get(key, ()) for key in ("token_start", "token_end", "pos")), strict=True):
        tags[begin:end] = pos
    places, white = _places(text, sizes)
    return np.where(white, WHITE, tags[places])


def entities(text: str, sizes: np.ndarray, annotation: Mapping[str, list]) -> np.ndarray:
    """The type of the entity (str [tokens]) that each token lies in, OUTSIDE, or what `parts_of_speech` says of tokens of no word."""
    labels = np.full(len(text) + 1, OUTSIDE, object)
    for begin, end, label in zip(*(annotation.get(key, ()) for key in ("entity_start", "entity_end", "entity_label")), strict=True):
        labels[begin:end] = label
    pos = parts_of_speech(text, sizes, annotation)
    return np.where(np.isin(pos.astype(str), (UNCOVERED, WHITE)), pos, labels[_places(text, sizes)[0]])


def spans_of(text: str, sizes: np.ndarray, annotation: Mapping[str, list], max_words: int) -> np.ndarray:
    """The number (int32 [tokens], from 0; -1 outside) of the entity or phrase that each token of `text` lies in; no two overlap.

    Entities come first. A phrase is a dependency subtree of 2 to `max_words` words in one piece, longer ones before shorter.
    """
    numbers = np.full(len(text) + 1, -1, np.int32)
    found = list(zip(*(annotation.get(key, ()) for key in ("entity_start", "entity_end")), strict=True))
    for begin, end in [*found, *_phrases(annotation, max_words)]:
        if (numbers[begin:end] < 0).all():
            numbers[begin:end] = numbers.max() + 1
    places, white = _places(text, sizes)
    return np.where(white, -1, numbers[places]).astype(np.int32)


def _phrases(annotation: Mapping[str, list], max_words: int) -> list[tuple[int, int]]:
    """Where phrases begin and end, in code points, longest first."""
    heads = annotation.get("head", ())
    left, right, size = list(range(len(heads))), list(range(len(heads))), [1] * len(heads)
    for word in range(len(heads)):
        above = word
        while heads[above] != above and size[heads[above]] <= max_words:  # beyond that it is no phrase anyway
            above = heads[above]
            left[above], right[above], size[above] = min(left[above], word), max(right[above], word), size[above] + 1
    whole = [w for w in range(len(heads)) if 2 <= size[w] <= max_words and right[w] - left[w] + 1 == size[w]]
    chosen = sorted((-size[w], left[w], right[w]) for w in whole if annotation["pos"][w] in PHRASES)
    return [(annotation["token_start"][begin], annotation["token_end"][end]) for _, begin, end in chosen]


def _places(text: str, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each token's first character that is no white space (int64 [tokens]), and whether it has none (bool [tokens])."""
    encoded = np.frombuffer(text.encode(), np.uint8)
    assert int(sizes.sum()) == len(encoded), f"tokens of {int(sizes.sum())} bytes for a text of {len(encoded)}"
    character = np.cumsum((encoded & 0xC0) != 0x80) - 1  # of each byte: continuation bytes belong to the one that led
    ends = np.cumsum(sizes)
    first, last = character[ends - sizes], character[ends - 1]
    black = _next_black(text)[first]
    return np.minimum(black, len(text)), black > last


def _next_black(text: str) -> np.ndarray:
    """For each character, the place of the first one from it on that is no white space; len(text) where there is none."""
    places = np.array([len(text) if c.isspace() else i for i, c in enumerate(text)], np.int64)
    return np.minimum.accumulate(places[::-1])[::-1]
