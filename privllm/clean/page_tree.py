"""What is known of each element of a page: its landmarks and the words of its classes, the text below it, its way to the prose.

>>> from privllm.clean.page_blocks import read_blocks
>>> Tree(read_blocks("<body><nav><p>Menu</p></nav></body>")).characters.tolist()  # of <body>, <nav> and <p>
[4, 4, 4]
"""

import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from privllm.clean.page_blocks import Elements, Page

PROSE = 80  # characters, from which a block with few links counts as prose
MAX_LINKS = 0.3  # of the characters of prose
MAX_WORDS = 50  # of a class and an id that are looked at
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

LANDMARKS = {  # element or role -> what it says
    "nav": "nav", "navigation": "nav", "menu": "nav", "tablist": "nav", "header": "header", "banner": "header",
    "footer": "footer", "contentinfo": "footer", "aside": "aside", "complementary": "aside", "main": "main",
    "article": "article", "form": "form", "search": "form", "dialog": "dialog", "figure": "figure", "table": "table",
    "blockquote": "quote", "details": "details", "address": "address", "noscript": "noscript", "feed": "feed",
}  # fmt: skip
WORDS = {  # of class, id and the like -> what it says; a part of a word is enough where it is long
    "menu": "nav menu navigation topbar masthead tab tabs toolbar pagination pager breadcrumb crumb toc skip",
    "side": "sidebar side rail widget secondary complementary aside",
    "foot": "footer foot copyright legal colophon bottom",
    "head": "header banner hero top",
    "comment": "comment disqus respond reply replies discussion",
    "share": "share sharing social follow twitter facebook like",
    "related": "related recommend more similar popular trending suggest upsell cross also teaser promo latest recent "
    "carousel slider swiper next",
    "ad": "ad ads advert sponsor outbrain taboola affiliate dfp",
    "consent": "cookie consent gdpr privacy popup modal overlay dialog notice alert toast drawer offcanvas",
    "form": "newsletter subscri signup login search form cta donat contact",
    "meta": "meta byline author date time published posted tag tags categor label info badge caption credit bio",
    "body": "article body post entry content story main text prose markdown rich copy page",
    "part": "paragraph section description detail summary intro lead abstract excerpt review answer question faq message",
    "item": "card item product listing result tile grid list thumb price cart buy rating stars",
    "hide": "hidden hide visually invisible collapse print reader",
    "code": "code highlight snippet example syntax",
}
LANDMARK_FLAGS = (*sorted(set(LANDMARKS.values())), "within header", "hidden")
WORD_FLAGS = tuple(f"word {name}" for name in WORDS)
LANDMARK = {flag: 1 << number for number, flag in enumerate(LANDMARK_FLAGS)}  # its bit
WORD = {flag: 1 << number for number, flag in enumerate(WORD_FLAGS)}
_NOT_PROSE = sum(LANDMARK[flag] for flag in ("nav", "footer", "aside", "form", "dialog", "hidden"))
_NO_PROSE_WORDS = sum(WORD[f"word {name}"] for name in ("foot", "consent", "ad"))
_NOT_PLAIN = sum(
    WORD[f"word {name}"] for name in ("menu", "side", "foot", "share", "related", "ad", "consent", "form", "hide")
)
_MAIN = LANDMARK["main"] | LANDMARK["article"]
_BESIDE_WORDS = WORD["word foot"] | WORD["word side"]  # which a footnote is not, whatever it is made of, nor an aside

_ROLE = re.compile(r'\brole="([a-z]+)"')
_NAMES = re.compile(r'\b(?:class|id|itemprop|summary)="([^"]*)"')
_NOTE = re.compile(r'\b(?:class|role|epub:type)="[^"]*\b(?:foot|end)-?notes?\b')
_HIDDEN = re.compile(r'display:\s*+none|\shidden\b|aria-hidden="true"')
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
MIN_PART = 4  # letters; shorter words must be the whole word, or one of `PREFIXES`
PREFIXES = frozenset(("nav",))  # navheader, navbar


@lru_cache(65_536)
def _flags_of_word(word: str) -> int:
    """Return what a word of a class says."""
    flags = 0
    for name, words in WORDS.items():
        for listed in words.split():
            is_part = len(listed) >= MIN_PART and listed in word
            if word == listed or is_part or (listed in PREFIXES and word.startswith(listed)):
                flags |= WORD[f"word {name}"]
    return flags


@lru_cache(65_536)
def _flags_of_names(names: str) -> int:
    """Return what classes, ids and the like say; many elements of a site have the same."""
    flags = 0
    for word in _WORD.findall(names)[:MAX_WORDS]:
        flags |= _flags_of_word(word.lower())
    return flags


@lru_cache(16_384)
def _flags_of(tag: str) -> tuple[int, int, bool]:
    """Return what an element itself says: (landmarks, words, whether it is a footnote or a list of some)."""
    name, _, attributes = tag.partition(" ")
    landmarks = LANDMARK[LANDMARKS[name]] if name in LANDMARKS else 0
    if not attributes:
        return landmarks, 0, False
    if "role=" in attributes:
        role = _ROLE.search(attributes)
        if role and role[1] in LANDMARKS:
            landmarks |= LANDMARK[LANDMARKS[role[1]]]
    if ("hidden" in attributes or "none" in attributes) and _HIDDEN.search(tag):
        landmarks |= LANDMARK["hidden"]
    names = _NAMES.findall(attributes) if name != "body" else []  # those of <body> are about the whole page
    words = _flags_of_names(" ".join(names))
    if "note" in attributes and _NOTE.search(attributes):
        return landmarks & ~LANDMARK["aside"], words & ~_BESIDE_WORDS, True
    return landmarks, words, False


class Tree:
    """What is known of each element: flags of it and around it, sums of the text below it, and how near the spine it is.

    The spine leads from <body> down to where most prose stands: at each element to the child with more than half of it.
    """

    def __init__(self, page: Page) -> None:
        blocks = page.blocks
        self.parents = np.array(page.elements.parents, np.int64)
        self.ends = np.array(page.elements.ends, np.int64)
        # of each block
        self.element_of = np.array([block.element for block in blocks], np.int64)
        self.length_of = np.array([len(block.text) for block in blocks], np.int64)
        self.links_of = np.array([block.link_characters for block in blocks], np.int64)
        # of each element
        self.around, self.near, self.all_words, notes = _flags_of_all(page.elements)
        self.is_note = self._within(notes)  # a footnote, or part of one
        self.is_prose = self._find_prose(np.array([block.kind == "row" for block in blocks], bool))
        self.is_plain = self._find_plain()
        self.characters = self._below(self.length_of)
        self.link_characters = self._below(self.links_of)
        self.blocks = self._below(np.ones_like(self.length_of))
        self.prose = self._below(self.length_of * self.is_prose)
        self.above_spine = self._find_spine()

    def _find_prose(self, is_row: Booleans) -> Booleans:
        """Return which blocks read like a paragraph, and stand where content can."""
        stands_aside = (self.around & _NOT_PROSE != 0) | (self.all_words & _NO_PROSE_WORDS != 0)
        is_long = (self.length_of >= PROSE) & (self.links_of < MAX_LINKS * self.length_of)
        return is_long & ~is_row & ~stands_aside[self.element_of]

    def _find_plain(self) -> Booleans:
        """Return which blocks are not mostly links, and not marked as something else than content."""
        is_marked = (self.around & _NOT_PROSE != 0) | (self.near & _NOT_PLAIN != 0)
        return (2 * self.links_of <= self.length_of) & ~is_marked[self.element_of]

    def _within(self, elements: list[int]) -> Booleans:
        """Return which elements are among these, or stand in one of them."""
        is_within = np.zeros(len(self.parents), bool)
        for element in elements:
            is_within[element : self.ends[element]] = True
        return is_within

    def _below(self, values: Integers) -> Integers:
        """Return for each element the sum of its blocks' values, and of all blocks below it."""
        own = np.bincount(self.element_of, values, len(self.parents))
        before = np.concatenate(([0.0], np.cumsum(own)))
        return (before[self.ends] - before[:-1]).astype(np.int64)

    def _find_spine(self) -> Integers:
        """Return for each element the steps from the spine's end up to where the element leaves it."""
        level = -1  # of the element that was put on the spine last
        end = -1
        leaves_at = np.zeros_like(self.parents)  # level at which an element, or what it stands in, leaves the spine
        is_heavy = (self.parents < 0) | (2 * self.prose > self.prose[self.parents])
        for index in np.flatnonzero(is_heavy).tolist():
            if self.parents[index] == end:
                end = index
                level += 1
                leaves_at[index : self.ends[index]] = level
        return level - leaves_at

    def above(self, elements: Integers) -> tuple[Integers, Integers]:
        """Return the parents and the grandparents of elements, themselves where they have none."""
        parents = self.parents[elements]
        parents = np.where(parents < 0, elements, parents)
        grandparents = self.parents[parents]
        return parents, np.where(grandparents < 0, parents, grandparents)


def _flags_of_all(elements: Elements) -> tuple[Integers, Integers, Integers, list[int]]:
    """Return of each element the landmarks around it, the words near it and of all that it stands in; and the footnotes.

    Near are its own and those of the two above it.
    """
    notes: list[int] = []
    around: list[int] = []
    near: list[int] = []
    all_words: list[int] = []
    pairs: list[int] = []  # words of an element and the one above it
    own: list[int] = []
    for tag, name, parent in zip(elements.tags, elements.names, elements.parents, strict=True):
        landmarks, words, is_note = _flags_of(tag)
        own.append(words)
        if is_note:
            notes.append(len(own) - 1)
        if parent < 0:
            around.append(landmarks)
            near.append(words)
            pairs.append(words)
            all_words.append(words)
            continue
        if landmarks and name == "header" and around[parent] & _MAIN:
            landmarks = landmarks & ~LANDMARK["header"] | LANDMARK["within header"]
        around.append(around[parent] | landmarks)
        near.append(words | pairs[parent])
        pairs.append(words | own[parent])
        all_words.append(all_words[parent] | words)
    return np.array(around, np.int64), np.array(near, np.int64), np.array(all_words, np.int64), notes
