"""Is a text worth learning from? Named rules over counts; the text itself is never changed.

After Gopher (Rae et al. 2021, appendix A.1 and table A1) and C4 (Raffel et al. 2020, section 2.2). Their thresholds
were set for web prose; the defaults here let reference documentation pass, which repeats itself, is full of
identifiers and comes in short pages. Where a default differs, the published figure stands beside it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from privllm.core.params import require

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))  # Gopher's eight
BULLETS = ("•", "-", "*", "‣", "◦", "▪", "·", "–")
MAX_NGRAM_WORDS = 20_000  # of the beginning, to bound the cost; the shares hardly move after that
# Thai and Lao, Tibetan, Myanmar, Khmer and its neighbours, kana, ideographs and Yi: no space stands between their words.
UNSPACED_BLOCKS = (
    *((0x0E00, 0x0EFF), (0x0F00, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF)),
    *((0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA48C), (0xA9E0, 0xA9FF)),
    *((0xAA60, 0xAADF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)),
)
NOTICE_WORDS = 100  # a text about JavaScript or about lorem ipsum is longer than a notice or a blank page
Ids = npt.NDArray[np.int64]


@dataclass
class QualityConfig:
    min_words: int = 20  # Gopher: 50
    max_words: int = 0  # 0: no limit. Gopher: 100,000
    min_mean_word_length: float = 2.5  # characters. Gopher: 3
    max_mean_word_length: float = 14.0  # characters. Gopher: 10
    min_stop_words: int = 2  # distinct ones, asked of English only, [0, 8]. Gopher: 2
    max_symbol_ratio: float = 0.3  # "#" and ellipses per word. Gopher: 0.1
    max_bullet_lines: float = 0.95  # share of lines, [0, 1]. Gopher: 0.9
    max_ellipsis_lines: float = 0.3  # share of lines, [0, 1]. Gopher: 0.3
    min_alphabetic_words: float = 0.5  # share of words that have a letter, [0, 1]. Gopher: 0.8
    max_duplicate_lines: float = 0.8  # share of characters, [0, 1]. Gopher: 0.2
    max_duplicate_paragraphs: float = 0.5  # share of characters, [0, 1]. Gopher: 0.2
    max_top_ngram: float = 0.2  # share of characters in the commonest 2-, 3- or 4-gram, [0, 1]. Gopher: 0.20, 0.18, 0.16
    max_duplicate_ngrams: float = 0.7  # share of characters in repeated 8-grams, [0, 1]. Gopher: 0.12

    def __post_init__(self) -> None:
        for key in ("max_bullet_lines", "max_ellipsis_lines", "min_alphabetic_words", "max_duplicate_lines", "max_duplicate_paragraphs"):
            require(0 <= getattr(self, key) <= 1, f"clean.quality.{key}", "a share between 0 and 1")
        for key in ("max_top_ngram", "max_duplicate_ngrams"):
            require(0 <= getattr(self, key) <= 1, f"clean.quality.{key}", "a share between 0 and 1")
        require(0 <= self.min_stop_words <= len(STOP_WORDS), "clean.quality.min_stop_words", f"0 to {len(STOP_WORDS)}")
        require(self.max_symbol_ratio >= 0, "clean.quality.max_symbol_ratio", "0 or more")
        lengths = 0 <= self.min_mean_word_length <= self.max_mean_word_length
        require(lengths, "clean.quality.max_mean_word_length", "at least min_mean_word_length, which is at least 0")
        require(self.min_words >= 0 and self.max_words >= 0, "clean.quality.min_words", "0 or more, like max_words")


def fault_of(cfg: QualityConfig, text: str, language: str) -> tuple[str, str] | None:
    """(reason, detail) of the first rule that `text` breaks, None for a text that is fine.

    `language` is an ISO 639-1 code, or "" where nobody knows; the stop words are asked of "en" only.
    """
    words, spaced = words_of(text)
    if len(words) < cfg.min_words:
        return "too_short", f"{len(words)} words, at least {cfg.min_words}"
    if cfg.max_words and len(words) > cfg.max_words:
        return "too_long", f"{len(words)} words, at most {cfg.max_words}"
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    return (
        _of_lengths(cfg, words, spaced)
        or _of_words(cfg, text, words, language)
        or _of_lines(cfg, lines)
        or _of_notices(text, words)
        or _of_repetition(cfg, text, lines, words)
    )


def _unspaced_letters() -> str:
    """The letters of `UNSPACED_BLOCKS` as a character class; marks, which belong to the letter before them, are none."""
    parts = []
    for first, last in UNSPACED_BLOCKS:
        if first >= 0x3400:  # nothing but letters
            parts.append(f"{chr(first)}-{chr(last)}")
        else:
            parts.append("".join(letter for letter in map(chr, range(first, last + 1)) if letter.isalpha()))
    return f"[{''.join(parts)}]"


_UNSPACED = re.compile(_unspaced_letters())


def words_of(text: str) -> tuple[list[str], list[str]]:
    """(words, those of scripts that write spaces between them). Of the other scripts each letter, with its marks, counts as a word."""
    if text.isascii() or _UNSPACED.search(text) is None:
        words = text.split()
        return words, words
    words = _UNSPACED.sub(r" \g<0>", text).split()
    return words, [word for word in words if _UNSPACED.match(word) is None]


def _of_lengths(cfg: QualityConfig, words: list[str], spaced: list[str]) -> tuple[str, str] | None:
    """Asked where most words are such as have a length."""
    mean = sum(map(len, spaced)) / max(1, len(spaced))
    if 2 * len(spaced) > len(words) and not cfg.min_mean_word_length <= mean <= cfg.max_mean_word_length:
        return "mean_word_length", f"{mean:.1f} characters"
    return None


def _of_words(cfg: QualityConfig, text: str, words: list[str], language: str) -> tuple[str, str] | None:
    symbols = max(text.count("#"), text.count("…") + text.count("...")) / len(words)
    if symbols > cfg.max_symbol_ratio:
        return "symbol_ratio", f"{symbols:.2f} per word"
    if language == "en" and (stop_words := _stop_words(cfg, words)) < cfg.min_stop_words:
        return "too_few_stop_words", f"{stop_words} of {len(STOP_WORDS)}"
    if sum(map(str.isalpha, words)) / len(words) >= cfg.min_alphabetic_words:
        return None  # of words that have a letter there are at least as many
    letters = {word for word in set(words) if any(map(str.isalpha, word))}
    alphabetic = sum(map(letters.__contains__, words)) / len(words)
    if alphabetic < cfg.min_alphabetic_words:
        return "few_alphabetic_words", f"{alphabetic:.2f} of all words"
    return None


def _stop_words(cfg: QualityConfig, words: list[str]) -> int:
    """How many different ones there are, or how many in lower case where those will do."""
    found = len(STOP_WORDS.intersection(words))
    return found if found >= cfg.min_stop_words else len(STOP_WORDS.intersection(map(str.lower, words)))


def _of_lines(cfg: QualityConfig, lines: list[str]) -> tuple[str, str] | None:
    bullets = sum(line.startswith(BULLETS) for line in lines) / len(lines)
    if bullets > cfg.max_bullet_lines:
        return "bullet_lines", f"{bullets:.2f} of all lines"
    ellipses = sum(line.endswith(("…", "...")) for line in lines) / len(lines)
    if ellipses > cfg.max_ellipsis_lines:
        return "ellipsis_lines", f"{ellipses:.2f} of all lines"
    return None


def _of_notices(text: str, words: list[str]) -> tuple[str, str] | None:
    """C4 drops every page with "lorem ipsum" and every line with "javascript"; documentation may speak of both."""
    head = text[:100_000].lower()
    if "lorem ipsum" in head and (len(words) < NOTICE_WORDS or head.count("dolor") * 200 > len(words)):
        return "lorem_ipsum", ""
    if len(words) < NOTICE_WORDS and "javascript" in head and any(word in head for word in ("enable", "disabled", "requires", "turn on")):
        return "javascript", "a notice that it is switched off"
    return None


def _of_repetition(cfg: QualityConfig, text: str, lines: list[str], words: list[str]) -> tuple[str, str] | None:
    measures: list[tuple[str, float, Callable[[], float]]] = [
        ("duplicate_lines", cfg.max_duplicate_lines, lambda: duplicate_share(lines)),
        (
            "duplicate_paragraphs",
            cfg.max_duplicate_paragraphs,
            lambda: duplicate_share([part for part in text.split("\n\n") if part.strip()]),
        ),
    ]
    for reason, limit, measure in measures:
        if (share := measure()) > limit:
            return reason, f"{share:.2f} of all characters"
    words = words[:MAX_NGRAM_WORDS]
    most_top, most_duplicates = ngram_bounds(words)
    if most_top <= cfg.max_top_ngram and most_duplicates <= cfg.max_duplicate_ngrams:
        return None
    top, duplicates = ngram_shares(words)
    if top > cfg.max_top_ngram:
        return "top_ngram", f"{top:.2f} of all characters"
    if duplicates > cfg.max_duplicate_ngrams:
        return "duplicate_ngrams", f"{duplicates:.2f} of all characters"
    return None


def duplicate_share(parts: list[str]) -> float:
    """Share of the characters that stand in parts seen before; 0.0 of none."""
    total = sum(map(len, parts))
    return 1 - sum(map(len, set(parts))) / total if total else 0.0


def ngram_bounds(words: list[str]) -> tuple[float, float]:
    """What `ngram_shares` cannot exceed, for a quarter of its price; most texts need no more.

    An n-gram occurs no more often than the rarest of its words, and in a later occurrence of an 8-gram no word is there for the
    first time.
    """
    if len(words) < 8:
        return 0.0, 0.0
    ones, lengths = _numbered(words)
    total = int(lengths.sum())
    often = np.bincount(ones)[ones]
    often[often < 2] = 0
    often_two, two = np.minimum(often[:-1], often[1:]), lengths[:-1] + lengths[1:]
    often_three, three = np.minimum(often_two[:-1], often[2:]), two[:-1] + lengths[2:]
    often_four, four = np.minimum(often_two[:-2], often_two[2:]), two[:-2] + two[2:]
    top = max(int((often_two * two).max()), int((often_three * three).max()), int((often_four * four).max()))
    return top / total, int(lengths[ones != np.arange(len(ones))].sum()) / total


def ngram_shares(words: list[str]) -> tuple[float, float]:
    """(largest share of characters that one repeated 2-, 3- or 4-gram takes, share in repeated 8-grams).

    n-grams get exact ids by pairing ids of shorter ones (no hashing); the first occurrence of an 8-gram is no repeat.
    """
    if len(words) < 8:
        return 0.0, 0.0
    ones, lengths = _numbered(words)
    total = int(lengths.sum())
    twos = _pair(ones[:-1], ones[1:])
    threes, fours = _pair(twos[:-1], ones[2:]), _pair(twos[:-2], twos[2:])
    top = max(_top(grams, size, lengths) for size, grams in ((2, twos), (3, threes), (4, fours))) / total
    return top, _repeated(_pair(fours[:-4], fours[4:]), 8, lengths) / total


def _numbered(words: list[str]) -> tuple[Ids, Ids]:
    """For each word the place where it stood first, and its length."""
    numbers: dict[str, int] = {}
    ones: Ids = np.fromiter(map(numbers.setdefault, words, count()), np.int64, len(words))
    return ones, np.fromiter(map(len, words), np.int64, len(words))


def _pair(left: Ids, right: Ids) -> Ids:
    """An id for each (left, right), equal where both are."""
    _, ids = np.unique(left * (int(right.max()) + 1) + right, return_inverse=True)
    return ids


def _top(grams: Ids, size: int, lengths: Ids) -> int:
    """Characters in all occurrences of the commonest n-gram, 0 where none occurs twice."""
    counts = np.bincount(grams)
    most = int(counts.argmax())
    if counts[most] < 2:
        return 0
    place = int((grams == most).argmax())
    return int(counts[most]) * int(lengths[place : place + size].sum())


def _repeated(grams: Ids, size: int, lengths: Ids) -> int:
    """Characters of the words that some later occurrence of an n-gram covers."""
    places = np.arange(len(grams))
    first = np.empty(int(grams.max()) + 1, np.int64)
    first[grams[::-1]] = places[::-1]  # the last to be assigned stays, so the first place wins
    again = (first[grams] != places).astype(np.int64)
    edges = np.zeros(len(lengths) + 1, np.int64)
    edges[: len(grams)] += again
    edges[size : size + len(grams)] -= again
    return int(lengths[np.cumsum(edges[:-1]) > 0].sum())
