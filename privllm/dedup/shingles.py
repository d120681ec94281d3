"""Word n-grams ("shingles") as 64-bit numbers, many texts at a time.

    "The cat sat on the mat." -> {hash(the cat sat on the), hash(cat sat on the mat)}

A word is a run of letters, marks, digits and underscores, in lower case; in scripts that are written without spaces
(Chinese, Japanese, Thai, ...) each character is a word. A text of fewer than n words has one shingle, all of its words;
a text of no words has none. Shingles and their Jaccard similarity are Broder's (1997); the hash is a polynomial
modulo 2^64 finished with the mixer of MurmurHash3 (Appleby), so nothing depends on Python's or a library's hash seed.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np

U64 = np.uint64
BATCH_CHARACTERS = 1 << 17  # what stays in the processor's cache: twice as fast as a million
BASE = U64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
BASE_INVERSE = U64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))  # Thai ... CJK
BEYOND = 0xFFFF  # stands for the characters outside the basic plane until their number is put in


def shingles(texts: Sequence[str], words: int) -> tuple[np.ndarray, np.ndarray]:
    """Shingles of `words` words each: (hashes, offsets); those of text i are `hashes[offsets[i]:offsets[i + 1]]`, repeats included.

    hashes: uint64, in the order of the text; offsets: uint64 (len(texts) + 1,).
    """
    parts = [_shingles_of_batch(batch, words) for batch in _batches(texts)]
    counts = np.concatenate([np.zeros(1, U64), *(counts for _, counts in parts)])
    return np.concatenate([np.zeros(0, U64), *(hashes for hashes, _ in parts)]), np.cumsum(counts, dtype=U64)


def shingle_sets(texts: Sequence[str], words: int) -> list[np.ndarray]:
    """The distinct shingles of each text, sorted, uint64."""
    hashes, offsets = shingles(texts, words)
    return [np.unique(hashes[start:end]) for start, end in pairwise(offsets)]


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Jaccard similarity of two sorted arrays of distinct values, in [0, 1]; 0 where both are empty."""
    if not len(left) or not len(right):
        return 0.0
    places = np.searchsorted(left, right)
    common = int((left[np.minimum(places, len(left) - 1)] == right).sum())
    return common / (len(left) + len(right) - common)


def _batches(texts: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    room = 0
    for text in texts:
        if not batches or room < len(text):
            batches.append([])
            room = BATCH_CHARACTERS
        batches[-1].append(text)
        room -= len(text)
    return batches


def _shingles_of_batch(texts: list[str], words: int) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, shingles of each text) of texts that fit in memory together."""
    hashes, places = _words("\n".join(texts) + "\n")
    begins = np.cumsum([0] + [len(text) + 1 for text in texts])
    bounds = np.searchsorted(places, begins)  # text i has the words bounds[i]:bounds[i + 1]
    first, counts = bounds[:-1], np.diff(bounds)
    padded = np.concatenate([hashes, np.zeros(words, U64)])
    powers = _powers(BASE, words)
    grams = np.zeros(len(hashes), U64)
    for k in range(words):
        grams += padded[k : k + len(hashes)] * powers[k]
    short = (counts > 0) & (counts < words)
    grams[first[short]] = sum(np.where(k < counts[short], padded[first[short] + k] * powers[k], U64(0)) for k in range(words))
    kept = np.where(counts > 0, np.maximum(counts - words + 1, 1), 0)
    whole = np.ones(len(hashes), bool)
    whole[_ranges(first + kept, counts - kept)] = False
    return _mix(grams[whole]), kept.astype(U64)


def _words(text: str) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, places) of the words: uint64, and the index of the first character of each."""
    values, alone = _alphabet()
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    weights = values.take(points, mode="clip")
    inside = weights != 0
    starts = inside.copy()
    starts[1:] &= ~inside[:-1]
    if points.max() >= UNSPACED[0][0]:
        far = points >= BEYOND
        weights[far] = _mix(points[far].astype(U64) + BASE) | U64(1)
        single = alone.take(points, mode="clip")
        starts |= single & inside
        starts[1:] |= single[:-1] & inside[1:]
    places = np.flatnonzero(starts)
    # The sum over a word of number * BASE^place, as a difference of running sums, brought back to place 1.
    running = np.concatenate([np.zeros(1, U64), np.cumsum(weights * _powers(BASE, len(points)))])
    sums = np.diff(running[np.append(places, len(points))])
    return _mix(sums * _powers(BASE_INVERSE, len(points))[places]), places


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... start + length - 1 for each pair, one after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


def _powers(base: np.uint64, count: int) -> np.ndarray:
    """base^1, base^2, ... base^count modulo 2^64."""
    return _powers_of_two(base, max(count - 1, BATCH_CHARACTERS).bit_length())[:count]


@cache
def _powers_of_two(base: np.uint64, bits: int) -> np.ndarray:
    return np.multiply.accumulate(np.full(1 << bits, base))


@cache
def _alphabet() -> tuple[np.ndarray, np.ndarray]:
    """For each character of the basic plane: its number (uint64, 0 between words, equal for both cases) and whether it is a word alone."""
    folded = np.zeros(BEYOND + 1, np.uint32)
    for point in range(BEYOND):
        character = chr(point)
        if character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M":
            folded[point] = ord(character.lower()[0])
    folded[BEYOND] = BEYOND
    alone = np.zeros(BEYOND + 1, bool)
    for first, last in UNSPACED:
        alone[first : last + 1] = True
    alone[BEYOND] = True
    return np.where(folded > 0, _mix(folded.astype(U64) + BASE) | U64(1), U64(0)), alone


def _mix(values: np.ndarray) -> np.ndarray:
    """MurmurHash3's 64-bit finaliser, element by element."""
    values = values ^ (values >> U64(33))
    values = values * U64(0xFF51AFD7ED558CCD)
    values = values ^ (values >> U64(33))
    values = values * U64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> U64(33))
