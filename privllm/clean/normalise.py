r"""Normal form of text: mojibake fixed, NFC, no invisible characters, uniform white space.

Nothing is reworded: quotes, dashes, full-width forms and HTML entities stay as written, and so do
indentation and spaces within a line (code needs both). `normalise` is idempotent.

`fix_mojibake` gives the result of `ftfy.fix_text` (Speer 2019), line by line, but calls it only for
lines that it could change: ftfy reads about 1 MB/s, and nearly every line needs nothing.
Example: "cafÃ©\u200b  \r\n" -> "café".
"""

import re
import unicodedata

import ftfy
import numpy as np
import numpy.typing as npt
from ftfy.badness import MOJIBAKE_CATEGORIES

from privllm.clean.code_units import SURROGATES, UNITS, units_of

FTFY = ftfy.TextFixerConfig(unescape_html=False, uncurl_quotes=False, fix_character_width=False, explain=False)

# Every pattern of ftfy.badness.BADNESS_RE needs one of these. Curly quotes and dashes alone never
# make one, and they are most of what is not ASCII in English.
_HARMLESS = ("common", "start_punctuation", "end_punctuation", "kaomoji", "lower_common", "upper_common")
_LITERALS = "ØÙ‚ЂВГРСβΒΓΞΟ°"  # what its patterns spell out beyond its categories
_MOJIBAKE = "".join(chars for name, chars in MOJIBAKE_CATEGORIES.items() if name not in _HARMLESS) + _LITERALS
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
# The rest of what ftfy's other fixers change: line breaks, ligatures, surrogates, invisible format
# characters.
_FIXABLE = r"\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u2028\u2029\ufb00-\ufb06\ud800-\udfff\ufeff\u206a-\u206f\ufff9-\ufffc"
_SUSPECT = re.compile(f"[{_MOJIBAKE}{_CONTROL}{_FIXABLE}]")
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_ODD_SPACE = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800\u3164]")
# Zero-width and bidirectional marks, soft hyphens, private use (icon fonts), tag characters,
# noncharacters.
_INVISIBLE = re.compile(
    f"[{_CONTROL}\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0d"
    "\ufeff\ufff0-\ufffb\ufffe\uffff\ue000-\uf8ff\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)
# Joiners mean something between letters of some scripts and between emoji, nowhere else.
_JOINER = re.compile(r"(?<![^\x00-\x7f\s])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f\s\u200c\u200d])")
_BLANK_LINES = re.compile("\n{4,}")
_REPLACED = {_LINE_END: "\n", _INVISIBLE: "", _ODD_SPACE: " "}  # in this order
# of the characters that match a pattern
_FLAG_OF = {pattern: 1 << place for place, pattern in enumerate((_SUSPECT, *_REPLACED))}


def _flags_of_units() -> npt.NDArray[np.uint8]:
    """Return for each UTF-16 unit the flags of the patterns that it may match."""
    every_unit = "".join(map(chr, range(UNITS)))
    flags = np.zeros(UNITS, np.uint8)
    for pattern, flag in _FLAG_OF.items():
        flags[[ord(character) for character in pattern.findall(every_unit)]] |= flag
    flags[SURROGATES] = sum(_FLAG_OF.values())
    return flags


_FLAGS_OF_UNIT = _flags_of_units()


def normalise(text: str) -> str:
    """Return the normal form: at most two blank lines in a row, no space at the end of a line."""
    while True:
        fixed = normalise_spaces(fix_mojibake(text))
        if fixed == text or fixed.isascii():
            return fixed
        text = fixed  # which may reveal more mojibake


def fix_mojibake(text: str) -> str:
    """Return `ftfy.fix_text(text, FTFY)`, computed faster."""
    if _is_sound(text):
        return text
    return "".join(line if _is_sound(line) else ftfy.fix_text(line, FTFY) for line in _lines(text))


def _is_sound(text: str) -> bool:
    """Return whether ftfy would leave `text` unchanged; False where that is unknown."""
    if text.isascii():
        return _ASCII_CONTROL.search(text) is None
    if _may_match(text, _SUSPECT) and _SUSPECT.search(text):
        return False
    return unicodedata.is_normalized("NFC", text)


def _may_match(text: str, *patterns: re.Pattern[str]) -> list[re.Pattern[str]]:
    """Return those of the patterns that may match in a text; the others do not."""
    flags = int(np.bitwise_or.reduce(_FLAGS_OF_UNIT.take(units_of(text))))
    return [pattern for pattern in patterns if flags & _FLAG_OF[pattern]]


def _lines(text: str) -> list[str]:
    """Return lines with their ends, split at line feeds alone, as ftfy does."""
    return re.findall("[^\n]*\n|[^\n]+", text)


def normalise_spaces(text: str) -> str:
    """Return `text` in NFC, with uniform line ends and spaces, without invisible characters."""
    if not text.isascii() or _ASCII_CONTROL.search(text):
        for pattern in _may_match(text, *_REPLACED):
            text = pattern.sub(_REPLACED[pattern], text)
    if not text.isascii():
        if "\u200c" in text or "\u200d" in text:
            text = _JOINER.sub("", text)
        text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text or text[-1:].isspace():
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if "\n\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n\n", text)
    return text.strip("\n")
