"""Which tokens belong to one word, by the Unicode categories of their characters.

Letters and marks continue a word, digits a number. Every other character ends it: white space, punctuation (dashes
and curly quotes too), symbols. Scripts that are written without spaces (Han, Kana, Thai, Khmer, ...) have no words
that can be seen, so each of their characters, with its marks, is one. A character is never cut.

    Ġva|lve - gear      valve, -, gear        lac-trail (—)      each side of the dash by itself
    東|京|タワー         three units            สี่               one: a consonant with two marks
"""

import unicodedata
from collections.abc import Collection, Mapping
from functools import lru_cache

import numpy as np

OTHER, LETTER, DIGIT, ALONE, MARK = range(5)  # kinds of characters
JOINERS = (0x200C, 0x200D)  # zero-width, inside the words of Persian and of scripts of India
# First and last code points, after the classes SA (complex context) and ID (ideographic) of Unicode's line breaking
# (UAX #14): where a line may break within what looks like one word.
WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # iteration mark and zero of Han
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3100, 0x312F),  # Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA000, 0xA48F),  # Yi
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),  # Han
    (0xFF66, 0xFF9F),  # Katakana, half width
    (0x11700, 0x1174F),  # Ahom
    (0x1AFF0, 0x1B16F),  # Kana
    (0x20000, 0x3FFFF),  # Han
)
REPLACEMENT = 0xFFFD  # for a character of which bytes are missing
LAST_CODE_POINT = 0x10FFFF


@lru_cache(1)
def kinds_of_characters() -> np.ndarray:
    """Return the kind of each code point, int8 [0x110000]."""
    of_category = {"L": LETTER, "M": MARK, "N": DIGIT}
    kinds = np.zeros(LAST_CODE_POINT + 1, np.int8)
    for code_point in (*range(0x40000), *range(0xE0100, 0xE01F0)):  # the other planes hold no letters and no marks
        kinds[code_point] = of_category.get(unicodedata.category(chr(code_point))[0], OTHER)
    for first, last in WITHOUT_SPACES:
        is_word = (kinds[first : last + 1] == LETTER) | (kinds[first : last + 1] == DIGIT)
        kinds[first : last + 1][is_word] = ALONE
    kinds[list(JOINERS)] = MARK
    return kinds


class Lexicon:
    """Bytes of the tokens of a vocabulary, {id: bytes} (`tokens.token_bytes`), and so the words that rows of them are made of."""

    def __init__(self, spelling: Mapping[int, bytes], special: Collection[int]) -> None:
        self.size = max(spelling) + 1
        bytes_of = [b"\0"] * self.size  # of a special token too: it is no text, and no word reaches across it
        for token, text in spelling.items():
            if token not in special:
                bytes_of[token] = text
        self._lengths = np.array([len(token) for token in bytes_of], np.int64)
        self._begins = np.cumsum(self._lengths) - self._lengths
        self._bytes = np.frombuffer(b"".join(bytes_of), np.uint8)

    def goes_on(self, tokens: np.ndarray) -> np.ndarray:
        """Return for each token (int [T]) whether it continues the word of the one before: bool [T]."""
        lengths = self._lengths[tokens]
        begins = np.cumsum(lengths) - lengths  # of each token within the row's bytes
        text = self._bytes[np.repeat(self._begins[tokens] - begins, lengths) + np.arange(lengths.sum())]
        starts_character = _starts_character(text)
        characters = kinds_of_characters()[_code_points(text, np.flatnonzero(starts_character))]
        # Of each byte; those before the first whole character belong to none.
        kinds = np.concatenate([[OTHER], characters])[np.cumsum(starts_character)]
        bases = np.concatenate([[OTHER], _of_base(characters)])[np.cumsum(starts_character)]
        first = kinds[begins[1:]]
        base_before = bases[begins[1:] - 1]
        continues = (first == base_before) & np.isin(first, (LETTER, DIGIT))
        continues |= (first == MARK) & (base_before != OTHER)
        continues |= ~starts_character[begins[1:]]
        return np.concatenate([[False], continues])

    def starts_character(self, tokens: np.ndarray) -> np.ndarray:
        """Return whether each token (int [T]) begins with a whole character, not inside one: bool [T]."""
        return _starts_character(self._bytes[self._begins[tokens]])


def units_of(lexicon: Lexicon, tokens: np.ndarray, longest: int) -> np.ndarray:
    """Return the number of each token's word, int64 [T]; one of more than `longest` tokens is cut between characters."""
    is_first = ~lexicon.goes_on(tokens)
    places = np.arange(len(tokens))
    word_start = np.maximum.accumulate(np.where(is_first, places, 0))
    character_start = np.maximum.accumulate(np.where(is_first | lexicon.starts_character(tokens), places, 0))
    part = (character_start - word_start) // longest
    is_first[1:] |= part[1:] != part[:-1]
    return np.cumsum(is_first) - 1


def _of_base(kinds: np.ndarray) -> np.ndarray:
    """Return the kinds of characters, a mark's being that of the character it stands on."""
    places = np.where(kinds == MARK, 0, np.arange(len(kinds)))
    bases = kinds[np.maximum.accumulate(places)]
    return np.where(bases == MARK, OTHER, bases)


def _starts_character(text: np.ndarray) -> np.ndarray:
    """Return which bytes begin a character of UTF-8; the others continue one."""
    return (text & 0xC0) != 0x80


def _code_points(text: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the code points of the characters that start at these bytes: int64."""
    lead = text[starts].astype(np.int64)
    length = 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)
    padded = np.concatenate([text, np.zeros(3, np.uint8)]).astype(np.int64) & 0x3F
    code_points = np.where(length == 1, lead, lead & (0x7F >> length))
    for place in range(1, 4):
        longer = code_points << 6 | padded[starts + place]
        code_points = np.where(length > place, longer, code_points)
    available = np.diff(starts, append=len(text))
    is_whole = (available == length) & (code_points <= LAST_CODE_POINT)
    return np.where(is_whole, code_points, REPLACEMENT)
