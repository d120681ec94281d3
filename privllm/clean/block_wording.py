"""How a block is worded: words of what surrounds content (shares, subscriptions, credits, dates), capitals, dots at its end.

The words are English, where most of the pages are that the weights were fitted on; a page in another language has the other
signs. No word decides by itself.

    >>> list(names_of_groups(*groups_of(["Subscribe to our newsletter"]), size=0))
    ['says call 0']
"""

from collections.abc import Iterator, Sequence

LOOKED_AT = 300  # characters of a block
SIZES = (60, 200)  # characters from which a block is of the next size
WORDS = {
    "call": "subscribe subscribed newsletter newsletters inbox click download follow register login donate app join signing sign contact",
    "share": "share shares whatsapp facebook twitter pinterest tweet linkedin instagram",
    "related": "related recommended popular trending latest stories previous next read also",
    "ad": "advert advertisement advertising sponsored promoted promotion cookie cookies affiliate commission slideshow javascript continue",
    "credit": "getty reuters copyright image images photo photos photograph credit courtesy caption pictured afp shutterstock video",
    "legal": "reserved terms privacy rights policy",
    "comment": "comment comments reply replies posted upvote upvotes likes like permalink report flag",
    "date": "updated published ago january february march april june july august september october november december "
    "jan feb mar apr jun jul aug sep sept oct nov dec",
}
SIGNS = tuple(
    f"{capitals}{end}{bar}" for capitals in ("", "capitals ") for end in ("", "dots ", "colon ") for bar in ("", "bar ")
)
GROUPS = tuple(WORDS)
_BIT_OF_WORD: dict[bytes, int] = {}
for _bit, _group in enumerate(GROUPS):
    for _listed in WORDS[_group].encode().split():
        _BIT_OF_WORD[_listed] = _BIT_OF_WORD.get(_listed, 0) | 1 << _bit
_KNOWN = frozenset(_BIT_OF_WORD)
_PARTED = "\0"  # stands between blocks; no text has it
# Letters stay, what parts blocks ends a line, and all else parts words.
_LETTERS = bytes(code if 97 <= code <= 122 else 10 if code == ord(_PARTED) else 32 for code in range(256))


def groups_of(texts: Sequence[str]) -> list[int]:
    """Return of each text which groups of words are in it, as bits."""
    beginnings = _PARTED.join([text[:LOOKED_AT] for text in texts])
    letters = beginnings.lower().encode("utf-8", "surrogatepass").translate(_LETTERS)
    result = []
    for line in letters.split(b"\n"):
        groups = 0
        for word in _KNOWN.intersection(line.split()):
            groups |= _BIT_OF_WORD[word]
        result.append(groups)
    return result


def signs_of(text: str) -> str:
    """Return the names of the other signs in a text, of `SIGNS`."""
    beginning = text[:LOOKED_AT]
    signs = "capitals " if beginning.isupper() and beginning.lower() != beginning else ""
    if text.endswith(("...", "…")):
        signs += "dots "
    elif text.endswith(":"):
        signs += "colon "
    return f"{signs}bar " if "|" in beginning else signs


def names_of_groups(groups: int, size: int) -> Iterator[str]:
    """Yield the names of groups of words; a word says more of a short block, so the step of the block's size counts."""
    for place, group in enumerate(GROUPS):
        if groups >> place & 1:
            yield f"says {group} {size}"


def names_of_signs(signs: str, size: int) -> Iterator[str]:
    """Yield the names of signs."""
    for sign in signs.split():
        yield f"{sign} {size}" if sign == "dots" else sign
