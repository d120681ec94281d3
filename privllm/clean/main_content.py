"""Which blocks of a page are its content: a logistic regression over what each block is and where it stands.

The features are those of the literature: length, share of links and tag of a block (Kohlschütter et al. 2010), its neighbours'
and containers' (Vogels et al. 2018), HTML's landmarks, and words that authors give to classes and ids. Each is true or
false, so a block's score is a sum of the weights of what is true. `main_content_weights` holds the table;
`benchmarks/fit_main_content.py` fits it.

A page decides by its own scale too: a block stays if it is `ENOUGH` of what the page's content is, so a page
of which all blocks look alike does not come out empty.
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import repeat
from math import exp

from privllm.clean.main_content_weights import WEIGHTS
from privllm.clean.page_blocks import HEADINGS, Block, Element, Page

ENOUGH = 0.7  # of the probability of the page's content
CERTAIN = 0.65  # a probability that is enough on every page
MAX_GAP = 20  # blocks between content that may be content too
PROSE = 80  # characters, from which a block with few links counts as prose
MAX_WORDS = 50  # of a class and an id that are looked at

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
FLAGS = (*sorted(set(LANDMARKS.values())), "within header", "hidden", *(f"word {name}" for name in WORDS))
_BIT = {flag: 1 << number for number, flag in enumerate(FLAGS)}
_NOT_PROSE = _BIT["nav"] | _BIT["footer"] | _BIT["aside"] | _BIT["form"] | _BIT["dialog"] | _BIT["hidden"]
_NO_PROSE_WORDS = _BIT["word foot"] | _BIT["word consent"] | _BIT["word ad"]
_NOT_PLAIN = sum(
    _BIT[f"word {name}"] for name in ("menu", "side", "foot", "share", "related", "ad", "consent", "form", "hide")
)
_LANDMARK_BITS = sum(_BIT[flag] for flag in FLAGS if not flag.startswith("word "))
_MAIN = _BIT["main"] | _BIT["article"]

_ROLE = re.compile(r'\brole="([a-z]+)"')
_NAMES = re.compile(r'\b(?:class|id|itemprop)="([^"]*)"')
_HIDDEN = re.compile(r'display:\s*+none|\shidden\b|aria-hidden="true"')
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_END_OF_SENTENCE = re.compile(r"[.!?:;。！？…][\"”’')\]]*$")
_PAUSES = re.compile(r"[.!?,;](?=\s|$)|[。！？，；、]")
MIN_PART = 4  # letters; shorter words must be the whole word


@lru_cache(65_536)
def _flags_of_word(word: str) -> int:
    """Return what a word of a class says."""
    flags = 0
    for name, words in WORDS.items():
        for listed in words.split():
            if word == listed or (len(listed) >= MIN_PART and listed in word):
                flags |= _BIT[f"word {name}"]
    return flags


def _flags_of(name: str, attributes: str) -> int:
    """Return the flags of an element of its own."""
    flags = _BIT[LANDMARKS[name]] if name in LANDMARKS else 0
    if not attributes:
        return flags
    if "role=" in attributes:
        role = _ROLE.search(attributes)
        if role and role[1] in LANDMARKS:
            flags |= _BIT[LANDMARKS[role[1]]]
    if _HIDDEN.search(attributes):
        flags |= _BIT["hidden"]
    if name != "body":  # whose classes are about the whole page
        for word in _WORD.findall(" ".join(_NAMES.findall(attributes)))[:MAX_WORDS]:
            flags |= _flags_of_word(word.lower())
    return flags


@lru_cache(65_536)
def _names(prefix: str, flags: int) -> tuple[str, ...]:
    return tuple(f"{prefix} {flag}" for flag in FLAGS if flags & _BIT[flag])


class Tree:
    """What is known of each element: flags of it and around it, sums of the text below it, and how near the spine it is.

    The spine leads from <body> down to where most prose stands: at each element to the child with more than half of it.
    """

    def __init__(self, page: Page) -> None:
        self.elements = page.elements
        count = len(page.elements)
        self.near = [0] * count  # flags of words of the element, its parent and its grandparent
        self.around = [0] * count  # landmarks that the element stands in
        self.all_words = [0] * count  # words of all that it stands in
        self.characters = [0] * count
        self.link_characters = [0] * count
        self.blocks = [0] * count
        self.prose = [0] * count
        self.above_spine = [0] * count  # steps from the spine's end up to where the element leaves it
        self._read_flags()
        self._add_up(page.blocks)
        self._find_spine()

    def _read_flags(self) -> None:
        known: dict[tuple[str, str], int] = {}
        own: list[int] = []
        for index, element in enumerate(self.elements):
            key = (element.name, element.attributes)
            flags = known.get(key)
            if flags is None:
                flags = known[key] = _flags_of(*key)
            parent = element.parent
            landmarks, words = flags & _LANDMARK_BITS, flags & ~_LANDMARK_BITS
            own.append(words)
            if parent < 0:
                self.around[index], self.near[index], self.all_words[index] = landmarks, words, words
                continue
            if element.name == "header" and self.around[parent] & _MAIN:
                landmarks = landmarks & ~_BIT["header"] | _BIT["within header"]
            grandparent = self.elements[parent].parent
            self.around[index] = self.around[parent] | landmarks
            self.all_words[index] = self.all_words[parent] | words
            self.near[index] = words | own[parent] | (own[grandparent] if grandparent >= 0 else 0)

    def is_prose(self, block: Block) -> bool:
        """Return whether a block reads like a paragraph, and stands where content can."""
        length = len(block.text)
        return (
            length >= PROSE
            and block.link_characters < 0.3 * length
            and block.kind != "row"
            and not self.around[block.element] & _NOT_PROSE
            and not self.all_words[block.element] & _NO_PROSE_WORDS
        )

    def is_plain(self, block: Block) -> bool:
        """Return whether a block is not mostly links, and nothing marks it as something else than content."""
        return (
            2 * block.link_characters <= len(block.text)
            and not self.around[block.element] & _NOT_PROSE
            and not self.near[block.element] & _NOT_PLAIN
        )

    def _add_up(self, blocks: list[Block]) -> None:
        for block in blocks:
            element = block.element
            self.characters[element] += len(block.text)
            self.link_characters[element] += block.link_characters
            self.blocks[element] += 1
            if self.is_prose(block):
                self.prose[element] += len(block.text)
        for index in range(len(self.elements) - 1, 0, -1):
            parent = self.elements[index].parent
            if parent >= 0:
                self.characters[parent] += self.characters[index]
                self.link_characters[parent] += self.link_characters[index]
                self.blocks[parent] += self.blocks[index]
                self.prose[parent] += self.prose[index]

    def _find_spine(self) -> None:
        place = 0  # on the spine, of the element that was put there last
        on_spine: list[int] = []  # of each element: place on the spine where it, or what it stands in, leaves it
        end = -1
        for index, element in enumerate(self.elements):
            parent = element.parent
            is_next = parent == end and (parent < 0 or 2 * self.prose[index] > self.prose[parent])
            if is_next:
                end = index
                on_spine.append(place)
                place += 1
            else:
                on_spine.append(on_spine[parent] if parent >= 0 else 0)
        self.above_spine = [place - 1 - level for level in on_spine]

    def parents(self, element: int) -> tuple[int, int]:
        """Return the parent and the grandparent of an element, itself where it has none."""
        parent = max(element, 0) if self.elements[element].parent < 0 else self.elements[element].parent
        grandparent = self.elements[parent].parent
        return parent, grandparent if grandparent >= 0 else parent


def choose(page: Page) -> list[bool]:
    """Return for each block whether it is content."""
    tree = Tree(page)
    probabilities = _shared_by_lists(page, [1 / (1 + exp(-score)) for score in scores(page, tree)])
    limit = threshold(page, probabilities)
    kept = [probability > limit for probability in probabilities]
    _keep_lists_of_content(page, tree, kept)
    _fill_gaps(page, tree, kept)
    return kept


def _keep_lists_of_content(page: Page, tree: Tree, kept: list[bool]) -> None:
    """Keep lists and tables without many links in a part of the page, or beside one, of which something is content."""
    has_content = [False] * len(page.elements)
    for block, is_kept in zip(page.blocks, kept, strict=True):
        element = block.element if is_kept else -1
        while element >= 0 and not has_content[element]:
            has_content[element] = True
            element = page.elements[element].parent
    for index, block in enumerate(page.blocks):
        whole = -1 if kept[index] else _whole(page, block)
        if whole < 0 or not tree.is_plain(block):
            continue
        is_plain = 2 * tree.link_characters[whole] <= tree.characters[whole]
        if is_plain and any(has_content[element] for element in tree.parents(whole)):
            kept[index] = True


def _shared_by_lists(page: Page, probabilities: list[float]) -> list[float]:
    """Return the probabilities, for the items of a list and the rows of a table those of all of it, by length."""
    wholes = [_whole(page, block) for block in page.blocks]
    weighted: dict[int, float] = defaultdict(float)
    lengths: Counter[int] = Counter()
    for whole, block, probability in zip(wholes, page.blocks, probabilities, strict=True):
        weighted[whole] += len(block.text) * probability
        lengths[whole] += len(block.text)
    return [
        probability if whole < 0 else weighted[whole] / lengths[whole]
        for whole, probability in zip(wholes, probabilities, strict=True)
    ]


def _whole(page: Page, block: Block) -> int:
    """Return the list or table whose item or row a block is, -1 for none."""
    if block.cells:
        return block.table
    element = page.elements[block.element]
    return element.parent if element.name == "li" else -1


def _fill_gaps(page: Page, tree: Tree, kept: list[bool]) -> None:
    """Keep short blocks between content, and headings of what follows, unless they are marked as something else."""
    last = -1
    for index, is_kept in enumerate(list(kept)):
        if not is_kept:
            continue
        gap = range(last + 1, index)
        last = index
        plain = [tree.is_plain(page.blocks[place]) for place in gap]
        if gap.start and len(gap) <= MAX_GAP and all(plain):
            kept[gap.start : gap.stop] = plain
            continue
        for place in reversed(gap):
            block = page.blocks[place]
            if block.kind not in HEADINGS or not tree.is_plain(block):
                break
            kept[place] = True


def threshold(page: Page, probabilities: list[float]) -> float:
    """Return the probability from which a block is content on this page."""
    weighted = 0.0
    total = 0.0
    for block, probability in zip(page.blocks, probabilities, strict=True):
        weighted += len(block.text) * probability * probability
        total += len(block.text) * probability
    return min(CERTAIN, ENOUGH * weighted / total) if total else CERTAIN


def scores(page: Page, tree: Tree) -> list[float]:
    """Return the logit of each block."""
    weights = WEIGHTS.get
    return [sum(map(weights, names, repeat(0)), WEIGHTS["always"]) / 100 for names in features(page, tree)]


def _step(value: float, edges: tuple[float, ...]) -> int:
    """Return how many edges are not above a value."""
    return bisect_right(edges, value)


def features(page: Page, tree: Tree) -> list[list[str]]:
    """Return for each block the names of what is true of it."""
    blocks = page.blocks
    sizes = [_size(block) for block in blocks]
    sides = [
        "none",
        *(f"{block.kind} {length // 2} {links // 2}" for block, (length, links) in zip(blocks, sizes, strict=True)),
        "none",
    ]
    templates = [_template(page, block) for block in blocks]
    template_counts = Counter(templates)
    template_lengths: Counter[tuple[str, ...]] = Counter()
    template_links: Counter[tuple[str, ...]] = Counter()
    text_counts: Counter[str] = Counter()
    for block, template in zip(blocks, templates, strict=True):
        template_lengths[template] += len(block.text)
        template_links[template] += block.link_characters
        text_counts[block.text] += 1
    is_prose = [tree.is_prose(block) for block in blocks]
    since, until = _distances(is_prose), _distances(is_prose[::-1])[::-1]
    prose = sum(len(block.text) for block, is_one in zip(blocks, is_prose, strict=True) if is_one)
    first_title = next((index for index, block in enumerate(blocks) if block.kind == "h1"), -1)
    total = max(1, sum(len(block.text) for block in blocks))
    passed = passed_prose = 0
    result: list[list[str]] = []
    for index, block in enumerate(blocks):
        length, links = sizes[index]
        element, kind, text = block.element, block.kind, block.text
        parent, grandparent = tree.parents(element)
        template = templates[index]
        template_length = template_lengths[template]
        own_prose = len(text) if is_prose[index] else 0
        names = [
            f"length {length}",
            f"length {length} links {links}",
            f"{kind} links {links}",
            f"ends a sentence {_END_OF_SENTENCE.search(text) is not None}",
            f"pauses {_step(len(_PAUSES.findall(text)), (1, 2, 4, 8))}",
            f"above spine {min(4, tree.above_spine[element])}",
            f"parent links {_share(tree.link_characters[parent], tree.characters[parent])}",
            f"grandparent mean {_mean(tree.characters[grandparent], tree.blocks[grandparent])}",
            f"parent mean {_mean(tree.characters[parent], tree.blocks[parent])}",
            f"repeated {min(3, text_counts[text])}",
            f"template mean {_mean(template_length, template_counts[template])} "
            f"links {_step(template_links[template] / template_length, (0.05, 0.5, 0.9))}",
            f"template count {_step(template_counts[template], (2, 4, 8, 20))}",
            f"since prose {since[index]}",
            f"until prose {until[index]}",
            f"prose before {_part(passed_prose, prose)}",
            f"prose after {_part(prose - passed_prose - own_prose, prose)}",
            f"place {_step(passed / total, (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95))}",
            f"title {0 if first_title < 0 else 1 if index < first_title else 2 if index == first_title else 3}",
        ]
        if "©" in text:
            names.append("copyright sign")
        before, after = sides[index], sides[index + 2]
        names += [f"previous {before}", f"next {after}"]
        names += _names("in", tree.around[element])
        names += _names("near", tree.near[element])
        result.append(names)
        passed += len(text)
        passed_prose += own_prose
    return result


def _size(block: Block) -> tuple[int, int]:
    """Return steps of a block's length and of its share of links."""
    length = len(block.text)
    return _step(length, (10, 25, 50, 100, 200, 500)), _step(block.link_characters / length, (0.01, 0.25, 0.6, 0.9))


def _template(page: Page, block: Block) -> tuple[str, ...]:
    """Return what blocks have in common that one template wrote."""
    element: Element = page.elements[block.element]
    parent = page.elements[element.parent].attributes if element.parent >= 0 else ""
    return element.name, element.attributes, parent, block.kind


def _share(part: int, whole: int) -> int:
    return _step(part / max(1, whole), (0.05, 0.2, 0.4, 0.6, 0.9))


def _mean(characters: int, blocks: int) -> int:
    return _step(characters / max(1, blocks), (10, 25, 50, 100, 200))


def _part(characters: int, prose: int) -> int:
    return _step(characters / max(1, prose), (0.001, 0.05, 0.3, 0.7, 0.95, 0.999))


def _distances(is_prose: list[bool]) -> list[int]:
    """Return for each block the step of its distance to the last prose before it, itself included."""
    result: list[int] = []
    distance = 1_000_000
    for is_one in is_prose:
        distance = 0 if is_one else distance + 1
        result.append(_step(distance, (1, 2, 3, 6, 12, 30)))
    return result
