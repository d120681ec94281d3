"""Words of a PDF that were cut at the end of a line: with their hyphen where it is their own."""

import re

HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line; it has joined the two lines
WORD = re.compile(r"\w+")
COMPOUND = re.compile(r"(?=\b(\w+-\w+))\w+")  # of "a-b-c" both
CUT = re.compile(rf"\b(\w+){HYPHEN}(?=(\w+))")


def with_hyphens(text: str) -> str:
    """Return a text in which a word that was cut at a hyphen has it where it is surely its own.

    It is where the document writes the word so elsewhere, between digits ("2019-2020"), and between a
    small and a capital letter ("non-US"), unless the document has the word without it.
    """
    if HYPHEN not in text:
        return text
    compounds = {compound.lower() for compound in COMPOUND.findall(text)}
    words = {word.lower() for word in WORD.findall(text)}

    def mended(cut: re.Match[str]) -> str:
        before, after = cut[1][-1], cut[2][0]
        is_between = (before.isdigit() and after.isdigit()) or (before.islower() and after.isupper())
        has_hyphen = is_between or f"{cut[1]}-{cut[2]}".lower() in compounds
        return f"{cut[1]}-" if has_hyphen and f"{cut[1]}{cut[2]}".lower() not in words else cut[1]

    return CUT.sub(mended, text).replace(HYPHEN, "")
