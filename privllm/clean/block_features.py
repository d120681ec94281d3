"""What is true of each block of a page, and the sum of the weights of it.

A fact has few values. A group of facts has names: one for each thing that is true where the facts have these values, which are the
lines of `main_content_weights`. So a group is a table of sums of weights, made once, from which the values of all blocks are
taken together.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from privllm.clean import block_wording, headline
from privllm.clean.main_content_weights import WEIGHTS
from privllm.clean.page_blocks import OWN_KINDS, Page
from privllm.clean.page_kind import KINDS
from privllm.clean.page_tree import LANDMARK, WORD, Integers, Tree

LOOKED_AT = 600  # characters in which pauses are counted
BLOCK_KINDS = ("div", "row", *sorted(OWN_KINDS))
LENGTHS = np.array(
    (10, 25, 50, 100, 200, 500)
)  # characters from which a block is of the next step; the same for what follows
LINKS = np.array((0.01, 0.25, 0.6, 0.9))  # share of links
SHARES = np.array((0.05, 0.2, 0.4, 0.6, 0.9))  # of links in a container
MEANS = np.array((10, 25, 50, 100, 200))  # characters of a block
TEMPLATE_LINKS = np.array((0.05, 0.5, 0.9))
TEMPLATE_COUNTS = np.array((2, 4, 8, 20))
DISTANCES = np.array((1, 2, 3, 6, 12, 30))  # blocks to the next prose
PARTS = np.array((0.001, 0.05, 0.3, 0.7, 0.95, 0.999))  # of the prose
PLACES = np.array((0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95))  # in the page
PAUSES = np.array((1, 2, 4, 8))
SIZES = np.array(block_wording.SIZES)
NEIGHBOURS = (*product(BLOCK_KINDS, range(len(LENGTHS) // 2 + 1), range(len(LINKS) // 2 + 1)), None)
VALUES: dict[str, Sequence[Any]] = {
    "page kind": KINDS,
    "kind": BLOCK_KINDS,
    "length": range(len(LENGTHS) + 1),
    "links": range(len(LINKS) + 1),
    "ends sentence": (False, True),
    "pauses": range(len(PAUSES) + 1),
    "has sign": (False, True),
    "above spine": range(5),
    "parent links": range(len(SHARES) + 1),
    "parent mean": range(len(MEANS) + 1),
    "grandparent mean": range(len(MEANS) + 1),
    "template mean": range(len(MEANS) + 1),
    "template links": range(len(TEMPLATE_LINKS) + 1),
    "template count": range(len(TEMPLATE_COUNTS) + 1),
    "repeated": range(4),
    "since prose": range(len(DISTANCES) + 1),
    "until prose": range(len(DISTANCES) + 1),
    "prose before": range(len(PARTS) + 1),
    "prose after": range(len(PARTS) + 1),
    "place": range(len(PLACES) + 1),
    "title": range(4),
    "previous": NEIGHBOURS,
    "next": NEIGHBOURS,
    "order": headline.ORDERS,
    "is title": (False, True),
    "is within": (False, True),
    "share": headline.SHARES,
    "steps": range(7),
    "word groups": range(1 << len(block_wording.GROUPS)),
    "signs": block_wording.SIGNS,
    "size": range(len(block_wording.SIZES) + 1),
}
FAR = WORD["word comment"] | WORD["word related"] | WORD["word body"]  # that say something from far above too
_KIND_CODES = {kind: code for code, kind in enumerate(BLOCK_KINDS)}
_SIGN_CODES = {signs: code for code, signs in enumerate(block_wording.SIGNS)}
_ENDS = frozenset(".!?:;。！？…")  # of sentences
_CLOSING = "\"”’')]"  # what may stand after the end of a sentence
_LATIN_PAUSES = np.array([chr(code) in ".,!;" for code in range(128)])  # with a space after them
_WIDE_PAUSES = "。！？，；、"
Names = Callable[..., Iterator[str]]
Facts = dict[str, Any]  # name -> codes of all blocks, or the one of the page: places in `VALUES`


def _names_of_block(page_kind: str, kind: str, length: int, links: int) -> Iterator[str]:
    yield f"length {length}"
    yield f"length {length} links {links}"
    yield f"{kind} links {links}"
    yield f"{page_kind} page"
    yield f"{page_kind} page {kind} links {links}"
    yield f"{page_kind} page length {length}"


def _names_of_sentence(ends_sentence: bool, pauses: int, has_sign: bool) -> Iterator[str]:
    yield f"ends a sentence {ends_sentence}"
    yield f"pauses {pauses}"
    if has_sign:
        yield "copyright sign"


def _names_of_containers(above_spine: int, links: int, mean: int, upper_mean: int) -> Iterator[str]:
    yield f"above spine {above_spine}"
    yield f"parent links {links}"
    yield f"parent mean {mean}"
    yield f"grandparent mean {upper_mean}"


def _names_of_template(mean: int, links: int, count: int, repeated: int) -> Iterator[str]:
    yield f"template mean {mean} links {links}"
    yield f"template count {count}"
    yield f"repeated {repeated}"


def _names_of_distances(since: int, until: int) -> Iterator[str]:
    yield f"since prose {since}"
    yield f"until prose {until}"


def _names_of_parts(before: int, after: int) -> Iterator[str]:
    yield f"prose before {before}"
    yield f"prose after {after}"


def _names_of_place(place: int, title: int) -> Iterator[str]:
    yield f"place {place}"
    yield f"title {title}"


def _names_of_previous(neighbour: tuple[str, int, int] | None) -> Iterator[str]:
    yield " ".join(map(str, ("previous", *(neighbour or ("none",)))))


def _names_of_next(neighbour: tuple[str, int, int] | None) -> Iterator[str]:
    yield " ".join(map(str, ("next", *(neighbour or ("none",)))))


GROUPS: dict[Names, tuple[str, ...]] = {
    _names_of_block: ("page kind", "kind", "length", "links"),
    _names_of_sentence: ("ends sentence", "pauses", "has sign"),
    _names_of_containers: ("above spine", "parent links", "parent mean", "grandparent mean"),
    _names_of_template: ("template mean", "template links", "template count", "repeated"),
    _names_of_distances: ("since prose", "until prose"),
    _names_of_parts: ("prose before", "prose after"),
    _names_of_place: ("place", "title"),
    _names_of_previous: ("previous",),
    _names_of_next: ("next",),
    headline.names_of: ("page kind", "order", "is title", "is within", "share", "steps"),
    block_wording.names_of_groups: ("word groups", "size"),
    block_wording.names_of_signs: ("signs", "size"),
}


def scores(page: Page, tree: Tree) -> list[float]:
    """Return the logit of each block of a page that has some."""
    facts = facts_of(page, tree)
    total = np.full(len(page.blocks), WEIGHTS["always"])
    for names, group in GROUPS.items():
        total += _table(names)[tuple(facts[fact] for fact in group)]
    landmarks, near, far = _tables_of_flags(page.kind)
    of_elements = landmarks[tree.around] + near[tree.near] + far[tree.all_words]
    total += of_elements[tree.element_of]
    return (total / 100).tolist()


def features(page: Page, tree: Tree) -> list[list[str]]:
    """Return for each block the names of what is true of it."""
    facts = {name: np.broadcast_to(codes, len(page.blocks)).tolist() for name, codes in facts_of(page, tree).items()}
    result: list[list[str]] = []
    for index, block in enumerate(page.blocks):
        names: list[str] = []
        for names_of, group in GROUPS.items():
            names += names_of(*(VALUES[fact][facts[fact][index]] for fact in group))
        element = block.element
        names += _names_of_flags(page.kind, "in", LANDMARK, int(tree.around[element]))
        names += _names_of_flags(page.kind, "near", WORD, int(tree.near[element]))
        names += _names_of_flags(page.kind, "anywhere in", WORD, int(tree.all_words[element]) & FAR)
        result.append(names)
    return result


def _names_of_flags(page_kind: str, about: str, bits: dict[str, int], flags: int) -> Iterator[str]:
    """Yield what those of the flags say that are set."""
    for flag, bit in bits.items():
        if flags & bit:
            yield f"{about} {flag}"
            yield f"{page_kind} page {about} {flag}"


@lru_cache(len(GROUPS))
def _table(names: Names) -> Integers:
    """Return the sums of the weights of a group, by the codes of its facts."""
    values = [VALUES[fact] for fact in GROUPS[names]]
    sums = [sum(WEIGHTS.get(name, 0) for name in names(*combination)) for combination in product(*values)]
    return np.array(sums, np.int64).reshape([len(these) for these in values])


@lru_cache(len(KINDS))
def _tables_of_flags(page_kind: str) -> tuple[Integers, Integers, Integers]:
    """Return the sums of the weights of all sets of landmarks around a block, and of words near it and far above it."""
    return (
        _sums_of_sets(page_kind, "in", LANDMARK, -1),
        _sums_of_sets(page_kind, "near", WORD, -1),
        _sums_of_sets(page_kind, "anywhere in", WORD, FAR),
    )


def _sums_of_sets(page_kind: str, about: str, bits: dict[str, int], counted: int) -> Integers:
    """Return the sum of the weights of every set of flags, by the number whose bits say what is in it."""
    sums = np.zeros(1, np.int64)
    for bit in bits.values():
        names = _names_of_flags(page_kind, about, bits, bit & counted)
        sums = np.concatenate((sums, sums + sum(WEIGHTS.get(name, 0) for name in names)))
    return sums


def forget_tables() -> None:
    """Forget the tables that were made of `WEIGHTS`: for those who fit others."""
    _table.cache_clear()
    _tables_of_flags.cache_clear()


def facts_of(page: Page, tree: Tree) -> Facts:
    """Return what is true of the blocks of a page that has some."""
    texts = [block.text for block in page.blocks]
    kinds = np.array([_KIND_CODES[block.kind] for block in page.blocks], np.int64)
    length = _step(LENGTHS, tree.length_of)
    links = _step(LINKS, tree.links_of / tree.length_of)
    standings = headline.standings(page, tree)
    sides = np.full(len(texts) + 2, len(NEIGHBOURS) - 1)
    sides[1:-1] = (kinds * (len(LENGTHS) // 2 + 1) + length // 2) * (len(LINKS) // 2 + 1) + links // 2
    counts = Counter(texts)
    return {
        "page kind": KINDS.index(page.kind),
        "kind": kinds,
        "length": length,
        "links": links,
        "ends sentence": np.array([text.rstrip(_CLOSING)[-1:] in _ENDS for text in texts], np.int64),
        "pauses": _step(PAUSES, _pauses(texts)),
        "has sign": np.array(["©" in text for text in texts], np.int64),
        **_facts_of_containers(tree),
        **_facts_of_templates(page, tree),
        "repeated": np.minimum(3, [counts[text] for text in texts]),
        **_facts_of_prose(tree),
        "place": _step(PLACES, (np.cumsum(tree.length_of) - tree.length_of) / tree.length_of.sum()),
        "title": _places_to(kinds, _KIND_CODES["h1"]),
        "previous": sides[:-2],
        "next": sides[2:],
        "order": standings.order,
        "is title": standings.is_title,
        "is within": standings.is_within,
        "share": standings.share,
        "steps": standings.steps,
        "word groups": np.array(block_wording.groups_of(texts), np.int64),
        "signs": np.array([_SIGN_CODES[block_wording.signs_of(text)] for text in texts], np.int64),
        "size": _step(SIZES, tree.length_of),
    }


def _step(steps: npt.NDArray[Any], values: npt.NDArray[Any]) -> Integers:
    """Return how many of the steps each value has reached."""
    return steps.searchsorted(values, "right")


def _facts_of_containers(tree: Tree) -> Facts:
    parents, grandparents = tree.above(tree.element_of)
    means = tree.characters / np.maximum(1, tree.blocks)
    return {
        "above spine": np.minimum(4, tree.above_spine[tree.element_of]),
        "parent links": _step(SHARES, tree.link_characters[parents] / np.maximum(1, tree.characters[parents])),
        "parent mean": _step(MEANS, means[parents]),
        "grandparent mean": _step(MEANS, means[grandparents]),
    }


def _facts_of_templates(page: Page, tree: Tree) -> Facts:
    """Return facts of the templates that blocks are of: same element, attributes and parent."""
    tags, parents = page.elements.tags, page.elements.parents
    attributes_of = {-1: ""}  # of parents
    numbers: dict[tuple[str, str, str], int] = {}
    places = []
    for block in page.blocks:
        parent = parents[block.element]
        attributes = attributes_of.get(parent)
        if attributes is None:
            attributes = attributes_of[parent] = tags[parent].partition(" ")[2]
        places.append(numbers.setdefault((tags[block.element], attributes, block.kind), len(numbers)))
    template_of = np.array(places, np.int64)
    counts = np.bincount(template_of)
    lengths = np.bincount(template_of, tree.length_of)
    links = np.bincount(template_of, tree.links_of) / lengths
    return {
        "template mean": _step(MEANS, lengths / counts)[template_of],
        "template links": _step(TEMPLATE_LINKS, links)[template_of],
        "template count": _step(TEMPLATE_COUNTS, counts)[template_of],
    }


def _facts_of_prose(tree: Tree) -> Facts:
    """Return how far each block is from the prose before and after it, and which parts of all prose stand there."""
    own = tree.length_of * tree.is_prose
    whole = max(1, int(own.sum()))
    until_here = np.cumsum(own)
    return {
        "since prose": _step(DISTANCES, _distances(tree.is_prose)),
        "until prose": _step(DISTANCES, _distances(tree.is_prose[::-1])[::-1]),
        "prose before": _step(PARTS, (until_here - own) / whole),
        "prose after": _step(PARTS, (until_here[-1] - until_here) / whole),
    }


def _distances(is_prose: npt.NDArray[np.bool_]) -> Integers:
    """Return for each block its distance to the last prose before it, itself included; a large one where there is none."""
    places = np.arange(len(is_prose))
    return places - np.maximum.accumulate(np.where(is_prose, places, -1_000_000))


def _places_to(kinds: Integers, title: int) -> Integers:
    """Return of each block whether it stands before (1) the first block of a kind, is it (2), or stands after it (3); 0 for none."""
    places = np.flatnonzero(kinds == title)
    if not len(places):
        return np.zeros_like(kinds)
    return np.sign(np.arange(len(kinds)) - places[0]) + 2


def _pauses(texts: list[str]) -> Integers:
    """Return how many pauses stand in the beginning of each text: the ends of sentences and of their parts."""
    beginnings = [text[:LOOKED_AT] for text in texts]
    joined = " ".join([*beginnings, ""])
    ends = np.cumsum([len(beginning) + 1 for beginning in beginnings])
    # What is not ASCII becomes "?", so those that are there are told by another sign of the same meaning.
    codes = np.frombuffer(joined.replace("?", "!").encode("ascii", "replace"), np.uint8)
    is_pause = np.append(_LATIN_PAUSES[codes[:-1]] & (codes[1:] == ord(" ")), False)
    if any(sign in joined for sign in _WIDE_PAUSES):
        letters = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        is_pause |= np.isin(letters, [ord(sign) for sign in _WIDE_PAUSES])
    return np.diff(np.cumsum(is_pause)[ends - 1], prepend=0)
