"""Quality rules: named limits on statistics of a text, which is never changed.

`garbage_of` finds what is no text in any corpus. The rules of `fault_of` are for pages of the web: `clean.profile: web`
drops what breaks one, `private` only lists it. They follow Gopher (Rae et al. 2021, appendix A.1 and table A1) and C4
(Raffel et al. 2020, section 2.2). Their thresholds were set for web prose; the defaults here let reference documentation pass,
which repeats itself, is full of identifiers and comes in short pages. Where a default differs, the
published figure stands beside it.
"""

import re
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from privllm.clean.code_units import SURROGATES, UNITS, units_of
from privllm.core.params import require
from privllm.core.scripts import UNSPACED_BLOCKS, WORD_SEPARATORS

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))  # Gopher's eight
BULLETS = ("•", "-", "*", "‣", "◦", "▪", "·", "–")
MAX_NGRAM_WORDS = 20_000  # of the beginning, to limit the cost; the shares hardly change after that
NOTICE_WORDS = 100  # a text about JavaScript or about lorem ipsum is longer than a notice or a blank page
NOTICE_PHRASES = ("enable", "disabled", "requires", "turn on")
SHARES = (  # parameters in [0, 1]
    *("max_bullet_lines", "max_ellipsis_lines", "min_alphabetic_words", "max_duplicate_lines"),
    *("max_duplicate_paragraphs", "max_top_ngram", "max_duplicate_ngrams"),
)
Ids = npt.NDArray[np.int64]
Fault = tuple[str, str]  # reason and detail
MAX_UNREADABLE = 0.05  # share of characters that stand for bytes without a meaning
MIN_ALPHANUMERIC = 0.1  # share of letters and digits in what is no white space
MAX_ENCODED = 0.5  # share of characters in words such as those of base64
GARBAGE_SAMPLE = 4_000  # characters, half of the beginning and half of the end
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_OTHER_ASCII = bytes(code for code in range(128) if not chr(code).isalnum())
MIN_ENCODED = 60  # characters of a word; MIME breaks its lines after 76, PEM after 64
_ENCODED_WORD = re.compile(rf"(?<!\S)[A-Za-z0-9+/=_-]{{{MIN_ENCODED},}}(?!\S)")
REASONS = frozenset(  # for which `clean` drops a document; an own rule has another name
    (
        *("html_too_large", "html_unclosed_formatting", "html_too_deep", "empty", "language", "binary", "garbage"),
        *("too_short", "too_long", "mean_word_length", "symbol_ratio"),
        *("too_few_stop_words", "few_alphabetic_words", "bullet_lines", "ellipsis_lines", "lorem_ipsum"),
        *("javascript", "duplicate_lines", "duplicate_paragraphs", "top_ngram", "duplicate_ngrams"),
    )
)


@dataclass
class QualityConfig:
    min_words: int = 20  # words of a document, at least. Gopher: 50
    max_words: int = 0  # words of a document, at most; 0: no limit. Gopher: 100,000
    min_mean_word_length: float = 2.5  # characters, at least. Gopher: 3
    max_mean_word_length: float = 14.0  # characters, at most. Gopher: 10
    min_stop_words: int = 2  # distinct ones, asked of English only, [0, 8]. Gopher: 2
    max_symbol_ratio: float = 0.3  # "#" and ellipses per word. Gopher: 0.1
    max_bullet_lines: float = 0.95  # share of lines, [0, 1]. Gopher: 0.9
    max_ellipsis_lines: float = 0.3  # share of lines, [0, 1]. Gopher: 0.3
    min_alphabetic_words: float = 0.5  # share of words that have a letter, [0, 1]. Gopher: 0.8
    max_duplicate_lines: float = 0.8  # share of characters, [0, 1]. Gopher: 0.2
    max_duplicate_paragraphs: float = 0.5  # share of characters, [0, 1]. Gopher: 0.2
    # share of characters in the commonest 2-, 3- or 4-gram, [0, 1]. Gopher: 0.20, 0.18, 0.16
    max_top_ngram: float = 0.2
    max_duplicate_ngrams: float = 0.7  # share of characters in repeated 8-grams, [0, 1]. Gopher: 0.12

    def __post_init__(self) -> None:
        for key in SHARES:
            require(0 <= getattr(self, key) <= 1, f"clean.quality.{key}", "a share between 0 and 1")
        require(0 <= self.min_stop_words <= len(STOP_WORDS), "clean.quality.min_stop_words", f"0 to {len(STOP_WORDS)}")
        require(self.max_symbol_ratio >= 0, "clean.quality.max_symbol_ratio", "0 or more")
        lengths = 0 <= self.min_mean_word_length <= self.max_mean_word_length
        require(lengths, "clean.quality.max_mean_word_length", "at least min_mean_word_length, which is at least 0")
        require(self.min_words >= 0 and self.max_words >= 0, "clean.quality.min_words", "0 or more, like max_words")


def garbage_of(text: str) -> Fault | None:
    """Return why a text is none: bytes without a meaning, signs without words, or encoded data; None where it is one."""
    unreadable = text.count("\ufffd") / max(1, len(text))
    if unreadable > MAX_UNREADABLE:
        return "binary", f"{unreadable:.2f} of all characters are unreadable, at most {MAX_UNREADABLE}"
    sample = text if len(text) <= GARBAGE_SAMPLE else text[: GARBAGE_SAMPLE // 2] + text[-GARBAGE_SAMPLE // 2 :]
    lengths = [len(word) for word in sample.split()]
    total = max(1, sum(lengths))
    alphanumeric = _alphanumeric_share(sample, total)
    if alphanumeric < MIN_ALPHANUMERIC:
        return "garbage", f"{alphanumeric:.2f} of all characters are letters or digits, at least {MIN_ALPHANUMERIC}"
    if max(lengths, default=0) < MIN_ENCODED:
        return None
    encoded = sum(map(len, _ENCODED_WORD.findall(sample))) / total
    if encoded > MAX_ENCODED:
        return "garbage", f"{encoded:.2f} of all characters are encoded data, at most {MAX_ENCODED}"
    return None


def _alphanumeric_share(sample: str, total: int) -> float:
    """Return how many letters and digits a sample has for each of `total` characters, or a lower bound of it that is enough."""
    of_ascii = len(sample.encode("ascii", "ignore").translate(None, _OTHER_ASCII)) / total  # which is faster to count
    if of_ascii >= MIN_ALPHANUMERIC:
        return of_ascii
    return len(_NOT_ALPHANUMERIC.sub("", sample)) / total


def fault_of(cfg: QualityConfig, text: str, language: str) -> Fault | None:
    """Return the first rule that `text` breaks, None if it breaks none.

    `language` is an ISO 639-1 code, or "" where it is unknown; stop words are required of "en"
    only.
    """
    words, spaced = words_of(text)
    if len(words) < cfg.min_words:
        return "too_short", f"{len(words)} words, at least {cfg.min_words}"
    if cfg.max_words and len(words) > cfg.max_words:
        return "too_long", f"{len(words)} words, at most {cfg.max_words}"
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    return (
        _fault_in_word_lengths(cfg, words, spaced)
        or _fault_in_words(cfg, text, words, language)
        or _fault_in_lines(cfg, lines)
        or _fault_of_notices(text, words)
        or _fault_in_repetition(cfg, text, lines, words)
    )


def _unspaced_letters() -> str:
    """Return the letters of `UNSPACED_BLOCKS`, without marks, as a character class."""
    ranges: list[str] = []
    for first, last in UNSPACED_BLOCKS:
        if first >= 0x3400:  # nothing but letters
            ranges.append(f"{chr(first)}-{chr(last)}")
        else:
            characters = map(chr, range(first, last + 1))
            ranges += [character for character in characters if character.isalpha()]
    return f"[{''.join(ranges)}]"


_UNSPACED = re.compile(_unspaced_letters())


def _units_of_other_words() -> npt.NDArray[np.bool_]:
    """Return for each UTF-16 unit whether it may be a letter of `UNSPACED_BLOCKS` or one of `WORD_SEPARATORS`."""
    may_be = np.zeros(UNITS, bool)
    may_be[SURROGATES] = True
    for first, last in UNSPACED_BLOCKS:
        may_be[first : last + 1] = True
    may_be[[ord(separator) for separator in WORD_SEPARATORS]] = True
    return may_be


_MAY_BE_OF_OTHER_WORDS = _units_of_other_words()


def has_spaced_words_only(text: str) -> bool:
    """Return whether `str.split` surely gives the words of a text, and of any part of it."""
    return text.isascii() or not _MAY_BE_OF_OTHER_WORDS.take(units_of(text)).any()


def words_of(text: str) -> tuple[list[str], list[str]]:
    """Return (words, words of scripts that write spaces between them).

    In the other scripts each letter, with its marks, counts as a word.
    """
    if has_spaced_words_only(text):
        words = text.split()
        return words, words
    for separator in WORD_SEPARATORS:
        text = text.replace(separator, " ")
    if _UNSPACED.search(text) is None:
        words = text.split()
        return words, words
    words = _UNSPACED.sub(r" \g<0>", text).split()
    return words, [word for word in words if _UNSPACED.match(word) is None]


def _fault_in_word_lengths(cfg: QualityConfig, words: list[str], spaced: list[str]) -> Fault | None:
    """Apply the limits on the mean length if most words are of scripts with spaces."""
    if 2 * len(spaced) <= len(words):
        return None
    mean = sum(map(len, spaced)) / max(1, len(spaced))
    if cfg.min_mean_word_length <= mean <= cfg.max_mean_word_length:
        return None
    allowed = f"{cfg.min_mean_word_length:g} to {cfg.max_mean_word_length:g}"
    return "mean_word_length", f"{mean:.1f} characters, {allowed}"


def _fault_in_words(cfg: QualityConfig, text: str, words: list[str], language: str) -> Fault | None:
    """Apply the limits on symbols, stop words and words without a letter."""
    ellipses = text.count("…") + text.count("...")
    symbols = max(text.count("#"), ellipses) / len(words)
    if symbols > cfg.max_symbol_ratio:
        return "symbol_ratio", f"{symbols:.2f} per word, at most {cfg.max_symbol_ratio:g}"
    if language == "en":
        stop_words = _stop_word_count(cfg, words)
        if stop_words < cfg.min_stop_words:
            return "too_few_stop_words", f"{stop_words} of {len(STOP_WORDS)}, at least {cfg.min_stop_words}"
    alphabetic = _alphabetic_share(words, cfg.min_alphabetic_words)
    if alphabetic < cfg.min_alphabetic_words:
        return "few_alphabetic_words", f"{alphabetic:.2f} of all words, at least {cfg.min_alphabetic_words:g}"
    return None


def _alphabetic_share(words: list[str], enough: float) -> float:
    """Return the share of words that have a letter, or a lower bound of it that is `enough`."""
    of_letters_only = sum(map(str.isalpha, words)) / len(words)  # which is faster to count
    if of_letters_only >= enough:
        return of_letters_only
    with_letter = {word for word in set(words) if any(map(str.isalpha, word))}
    return sum(map(with_letter.__contains__, words)) / len(words)


def _stop_word_count(cfg: QualityConfig, words: list[str]) -> int:
    """Return the number of distinct stop words, or a lower bound of it that is enough."""
    in_lower_case = len(STOP_WORDS.intersection(words))
    if in_lower_case >= cfg.min_stop_words:
        return in_lower_case
    return len(STOP_WORDS.intersection(map(str.lower, words)))


def _fault_in_lines(cfg: QualityConfig, lines: list[str]) -> Fault | None:
    """Apply the limits on bullet points and on lines that are cut off."""
    bullets = sum(line.startswith(BULLETS) for line in lines) / len(lines)
    if bullets > cfg.max_bullet_lines:
        return "bullet_lines", f"{bullets:.2f} of all lines, at most {cfg.max_bullet_lines:g}"
    ellipses = sum(line.endswith(("…", "...")) for line in lines) / len(lines)
    if ellipses > cfg.max_ellipsis_lines:
        return "ellipsis_lines", f"{ellipses:.2f} of all lines, at most {cfg.max_ellipsis_lines:g}"
    return None


def _fault_of_notices(text: str, words: list[str]) -> Fault | None:
    """Refuse placeholder pages and notices that JavaScript is off.

    C4 drops every page with "lorem ipsum" and every line with "javascript"; documentation may speak
    of both.
    """
    head = text[:100_000].lower()
    is_short = len(words) < NOTICE_WORDS
    if "lorem ipsum" in head and (is_short or head.count("dolor") * 200 > len(words)):
        return "lorem_ipsum", f"a text to fill a page, of {len(words)} words"
    if is_short and "javascript" in head and any(word in head for word in NOTICE_PHRASES):
        return "javascript", f"a notice that it is switched off, of {len(words)} words, fewer than {NOTICE_WORDS}"
    return None


def _fault_in_repetition(cfg: QualityConfig, text: str, lines: list[str], words: list[str]) -> Fault | None:
    """Apply the limits on repeated lines, paragraphs and n-grams."""
    share = duplicate_share(lines)
    if share > cfg.max_duplicate_lines:
        return "duplicate_lines", f"{share:.2f} of all characters, at most {cfg.max_duplicate_lines:g}"
    share = duplicate_share([paragraph for paragraph in text.split("\n\n") if paragraph.strip()])
    if share > cfg.max_duplicate_paragraphs:
        return "duplicate_paragraphs", f"{share:.2f} of all characters, at most {cfg.max_duplicate_paragraphs:g}"
    words = words[:MAX_NGRAM_WORDS]
    top_bound, duplicates_bound = ngram_bounds(words)
    if top_bound <= cfg.max_top_ngram and duplicates_bound <= cfg.max_duplicate_ngrams:
        return None
    top, duplicates = ngram_shares(words)
    if top > cfg.max_top_ngram:
        return "top_ngram", f"{top:.2f} of all characters, at most {cfg.max_top_ngram:g}"
    if duplicates > cfg.max_duplicate_ngrams:
        return "duplicate_ngrams", f"{duplicates:.2f} of all characters, at most {cfg.max_duplicate_ngrams:g}"
    return None


def duplicate_share(pieces: list[str]) -> float:
    """Return the share of characters in repetitions of an earlier piece; 0.0 for no text."""
    total = sum(map(len, pieces))
    if not total:
        return 0.0
    return 1 - sum(map(len, set(pieces))) / total


def ngram_bounds(words: list[str]) -> tuple[float, float]:
    """Return upper bounds of `ngram_shares`, for a quarter of its cost; most texts need no more.

    An n-gram occurs no more often than the rarest of its words, and in a repetition of an 8-gram
    every word is a repetition too.
    """
    if len(words) < 8:
        return 0.0, 0.0
    ids, lengths = _word_ids(words)
    total = int(lengths.sum())
    counts_1 = np.bincount(ids)[ids]
    counts_1[counts_1 < 2] = 0
    counts_2 = np.minimum(counts_1[:-1], counts_1[1:])
    counts_3 = np.minimum(counts_2[:-1], counts_1[2:])
    counts_4 = np.minimum(counts_2[:-2], counts_2[2:])
    lengths_2 = lengths[:-1] + lengths[1:]
    lengths_3 = lengths_2[:-1] + lengths[2:]
    lengths_4 = lengths_2[:-2] + lengths_2[2:]
    pairs = ((counts_2, lengths_2), (counts_3, lengths_3), (counts_4, lengths_4))
    top = max(int((counts * characters).max()) for counts, characters in pairs)
    is_repetition = ids != np.arange(len(ids))
    return top / total, int(lengths[is_repetition].sum()) / total


def ngram_shares(words: list[str]) -> tuple[float, float]:
    """Return (largest share of one repeated 2-, 3- or 4-gram, share in repeated 8-grams).

    Shares are of characters. n-grams get exact ids by pairing ids of shorter ones (no hashing); the
    first occurrence of an 8-gram is no repetition.
    """
    if len(words) < 8:
        return 0.0, 0.0
    ids_1, lengths = _word_ids(words)
    total = int(lengths.sum())
    ids_2 = _pair_ids(ids_1[:-1], ids_1[1:])
    ids_3 = _pair_ids(ids_2[:-1], ids_1[2:])
    ids_4 = _pair_ids(ids_2[:-2], ids_2[2:])
    ids_8 = _pair_ids(ids_4[:-4], ids_4[4:])
    top = max(_top_characters(ids, n, lengths) for n, ids in ((2, ids_2), (3, ids_3), (4, ids_4)))
    share = min(1.0, top / total)  # occurrences may overlap
    return share, _repeated_characters(ids_8, 8, lengths) / total


def _word_ids(words: list[str]) -> tuple[Ids, Ids]:
    """Return for each word the place of its first occurrence, and its length."""
    first_places: dict[str, int] = {}
    ids: Ids = np.fromiter(map(first_places.setdefault, words, count()), np.int64, len(words))
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    return ids, lengths


def _pair_ids(left: Ids, right: Ids) -> Ids:
    """Return an id for each (left, right); equal pairs have equal ids."""
    pairs = left * (int(right.max()) + 1) + right
    _, ids = np.unique(pairs, return_inverse=True)
    return ids


def _top_characters(ids: Ids, n: int, lengths: Ids) -> int:
    """Return the characters in all occurrences of the commonest n-gram, 0 if none is repeated."""
    counts = np.bincount(ids)
    commonest = int(counts.argmax())
    if counts[commonest] < 2:
        return 0
    place = int((ids == commonest).argmax())
    return int(counts[commonest]) * int(lengths[place : place + n].sum())


def _repeated_characters(ids: Ids, n: int, lengths: Ids) -> int:
    """Return the characters of the words that a repetition of an n-gram covers."""
    places = np.arange(len(ids))
    first_places = np.empty(int(ids.max()) + 1, np.int64)
    first_places[ids[::-1]] = places[::-1]  # the last to be assigned stays, so the first place wins
    is_repetition = (first_places[ids] != places).astype(np.int64)
    edges = np.zeros(len(lengths) + 1, np.int64)  # +1 where a repetition begins, -1 where it has ended
    edges[: len(ids)] += is_repetition
    edges[n : n + len(ids)] -= is_repetition
    is_covered = np.cumsum(edges[:-1]) > 0
    return int(lengths[is_covered].sum())
