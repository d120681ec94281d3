"""Words of a PDF that were cut at the end of a line: with their hyphen where it is their own."""

import re

HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line; it has joined the two lines
WORD = re.compile(r"\w+")
COMPOUND = re.compile(r"(?=\b(\w+-\w+))\w+")  # of "a-b-c" both
CUT = re.compile(rf"\b(\w+){HYPHEN}(?=(\w+))")


def with_hyphens(text: str) -> str:
    """Return a text in which a word that was cut at a hyphen has it where the document writes it so elsewhere, and only so."""
    if HYPHEN not in text:
        return text
    compounds = {compound.lower() for compound in COMPOUND.findall(text)}
    words = {word.lower() for word in WORD.findall(text)}

    def mended(cut: re.Match[str]) -> str:
        has_hyphen = f"{cut[1]}-{cut[2]}".lower() in compounds and f"{cut[1]}{cut[2]}".lower() not in words
        return f"{cut[1]}-" if has_hyphen else cut[1]

    return CUT.sub(mended, text).replace(HYPHEN, "")
