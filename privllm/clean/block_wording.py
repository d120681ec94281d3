"""How a block is worded: words of what surrounds content (shares, subscriptions, credits, dates), capitals, dots at its end.

The words are English, where most of the pages are that the weights were fitted on; a page in another language has the other
signs. No word decides by itself.

    >>> sorted(names_of(wording("Subscribe to our newsletter")))
    ['says call 0']
"""

import re
from collections.abc import Iterator

LOOKED_AT = 300  # characters of a block
SHORT, MEDIUM = 60, 200  # characters: a word says more of a short block
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
Wording = tuple[int, int, str]  # groups of words that are there, as bits; size; names of the other signs
_GROUPS = tuple(WORDS)
_BIT_OF_WORD: dict[str, int] = {}
for _bit, _group in enumerate(_GROUPS):
    for _listed in WORDS[_group].split():
        _BIT_OF_WORD[_listed] = _BIT_OF_WORD.get(_listed, 0) | 1 << _bit
_KNOWN = frozenset(_BIT_OF_WORD)
_WORD = re.compile(r"[a-z]+")


def wording(text: str) -> Wording:
    """Return how a block is worded."""
    beginning = text[:LOOKED_AT]
    lowered = beginning.lower()
    groups = 0
    for word in _KNOWN.intersection(_WORD.findall(lowered)):
        groups |= _BIT_OF_WORD[word]
    size = (len(text) >= SHORT) + (len(text) >= MEDIUM)
    signs = "capitals " if lowered != beginning and beginning.isupper() else ""
    if text.endswith(("...", "…")):
        signs += "dots "
    elif text.endswith(":"):
        signs += "colon "
    if "|" in beginning:
        signs += "bar "
    return groups, size, signs


def names_of(worded: Wording) -> Iterator[str]:
    """Yield the names of what a wording says."""
    groups, size, signs = worded
    for place, group in enumerate(_GROUPS):
        if groups >> place & 1:
            yield f"says {group} {size}"
    for sign in signs.split():
        yield f"{sign} {size}" if sign == "dots" else sign
