"""Words of a PDF that were cut at the end of a line: with their hyphen where it is their own.

Whether it is, the document tells: by the word where it stands within a line, else by its halves where both stand there as words.
The halves count unless it writes more such pairs as one word than with a hyphen, as Dutch and Swedish do.
"""

import re
from functools import cached_property

HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line; it has joined the two lines
WORD = re.compile(r"\w+")
COMPOUND = re.compile(r"(?=\b(\w+-\w+))\w+")  # of "a-b-c" both
CUT = re.compile(rf"\b(\w+){HYPHEN}(?=(\w+))")
UNCUT = re.compile(rf"\w+(?:[-{HYPHEN}]\w*)*")  # a word with all that hyphens join to it
LEAST_HALF = 3  # letters of a half that is a word and no syllable
LONG_HALF = 5  # letters from which two words in one are hardly ever there by chance
LONGEST_WORD = 40  # letters of a word in which two are looked for


def with_hyphens(text: str) -> str:
    """Return a text in which a word that was cut at a hyphen has it where it is surely its own.

    It is where the document writes the word so elsewhere, between digits ("2019-2020"), between a small and a capital letter
    ("non-US"), and between two words of the document, unless the document has the word without it.
    """
    if HYPHEN not in text:
        return text
    document = _Words(text)

    def mended(cut: re.Match[str]) -> str:
        before, after = cut[1][-1], cut[2][0]
        is_between = (before.isdigit() and after.isdigit()) or (before.islower() and after.isupper())
        has_hyphen = (
            is_between or f"{cut[1]}-{cut[2]}".lower() in document.compounds or document.are_words(cut[1], cut[2])
        )
        return f"{cut[1]}-" if has_hyphen and f"{cut[1]}{cut[2]}".lower() not in document.words else cut[1]

    return CUT.sub(mended, text).replace(HYPHEN, "")


class _Words:
    """The words of a document that stand whole within its lines."""

    def __init__(self, text: str) -> None:
        self.words = {word.lower() for word in WORD.findall(text)}
        self.compounds = {compound.lower() for compound in COMPOUND.findall(text)}
        self.written = {word for word in UNCUT.findall(text) if word.isalnum()}

    def are_words(self, first: str, second: str) -> bool:
        """Return whether the halves of a cut word are words of the document.

        The first may stand before another hyphen there ("non-"). The second has the same letters, for "Meister" is not "meister".
        """
        is_long = min(len(first), len(second)) >= LEAST_HALF and first.isalpha() and second.isalpha()
        return is_long and first.lower() in self._heads and second in self.written and self._prefers_hyphens

    @cached_property
    def _heads(self) -> set[str]:
        return {word.lower() for word in self.written} | {compound.partition("-")[0] for compound in self.compounds}

    @cached_property
    def _prefers_hyphens(self) -> bool:
        """Whether no more pairs of long words are written as one word than with a hyphen."""
        with_hyphen = sum(self._is_pair(*compound.split("-")) for compound in self.compounds)
        return sum(map(self._holds_two, self.written)) <= with_hyphen

    def _holds_two(self, word: str) -> bool:
        places = range(LONG_HALF, len(word) - LONG_HALF + 1 if len(word) <= LONGEST_WORD else 0)
        return any(self._is_pair(word[:place], word[place:]) for place in places)

    def _is_pair(self, first: str, second: str) -> bool:
        is_long = min(len(first), len(second)) >= LONG_HALF
        return is_long and first.lower() in self._heads and second in self.written
