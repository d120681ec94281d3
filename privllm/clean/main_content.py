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
from collections.abc import Iterator
from functools import lru_cache
from itertools import compress
from math import exp
from typing import Any

from privllm.clean import block_wording, headline
from privllm.clean.main_content_weights import WEIGHTS
from privllm.clean.page_blocks import HEADINGS, Block, Page

ENOUGH = 0.7  # of the probability of the page's content
CERTAIN = 0.65  # a probability that is enough on every page
ENOUGH_OF_ARTICLE = (
    0.75  # the same of a page that says to machines that it is an article: published, with much around and amid it
)
CERTAIN_OF_ARTICLE = 0.7
UNLIKELY = 0.75  # of the probability from which a block is content: below, nothing amid an article is
TITLES = frozenset(("h1", "h2"))  # stay above content however unlikely, since people's text often begins below them
MAX_GAP = 20  # blocks between content that may be content too
PROSE = 80  # characters, from which a block with few links counts as prose
MAX_WORDS = 50  # of a class and an id that are looked at

LOOKED_AT = 600  # characters in which pauses are counted
Key = tuple[Any, ...]  # a group of facts, by name

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
_FAR = _BIT["word comment"] | _BIT["word related"] | _BIT["word body"]  # that say something from far above too
_BESIDE_TEXT = _BIT["aside"] | _BIT["word foot"] | _BIT["word side"]  # which a footnote is not, whatever it is made of
_MAIN = _BIT["main"] | _BIT["article"]

_ROLE = re.compile(r'\brole="([a-z]+)"')
_NAMES = re.compile(r'\b(?:class|id|itemprop|summary)="([^"]*)"')
_NOTE = re.compile(r'\b(?:class|role|epub:type)="[^"]*\b(?:foot|end)-?notes?\b')
_HIDDEN = re.compile(r'display:\s*+none|\shidden\b|aria-hidden="true"')
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_ENDS = frozenset(".!?:;。！？…")  # of sentences
_CLOSING = "\"”’')]"  # what may stand after the end of a sentence
_LATIN_PAUSES = (". ", ", ", "! ", "? ", "; ")
_PAUSES = (*_LATIN_PAUSES, "。", "！", "？", "，", "；", "、")
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
                flags |= _BIT[f"word {name}"]
    return flags


@lru_cache(65_536)
def _flags_of_names(names: str) -> int:
    """Return what classes, ids and the like say; many elements of a site have the same."""
    flags = 0
    for word in _WORD.findall(names)[:MAX_WORDS]:
        flags |= _flags_of_word(word.lower())
    return flags


@lru_cache(16_384)
def _flags_of(name: str, attributes: str) -> tuple[int, int]:
    """Return what an element itself says: (landmarks, words)."""
    flags = _BIT[LANDMARKS[name]] if name in LANDMARKS else 0
    if not attributes:
        return flags, 0
    if "role=" in attributes:
        role = _ROLE.search(attributes)
        if role and role[1] in LANDMARKS:
            flags |= _BIT[LANDMARKS[role[1]]]
    if ("hidden" in attributes or "none" in attributes) and _HIDDEN.search(attributes):
        flags |= _BIT["hidden"]
    if name != "body" and (names := _NAMES.findall(attributes)):  # those of <body> are about the whole page
        flags |= _flags_of_names(" ".join(names))
    if _is_note(attributes):
        flags &= ~_BESIDE_TEXT
    return flags & _LANDMARK_BITS, flags & ~_LANDMARK_BITS


def _is_note(attributes: str) -> bool:
    """Return whether an element is a footnote, or a list of some."""
    return "note" in attributes and _NOTE.search(attributes) is not None


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
        self.is_note = [False] * count  # or part of one
        self.characters = [0] * count
        self.link_characters = [0] * count
        self.blocks = [0] * count
        self.prose = [0] * count
        self.above_spine = [0] * count  # steps from the spine's end up to where the element leaves it
        self.with_text = self._find_text(page.blocks)
        self._read_flags()
        self._add_up(page.blocks)
        self._find_spine()

    def _find_text(self, blocks: list[Block]) -> list[int]:
        """Return the elements that have text below them, in order; the others are half of a page, and of no interest."""
        is_found = bytearray(len(self.elements))
        for block in blocks:
            element = block.element
            while element >= 0 and not is_found[element]:
                is_found[element] = 1
                element = self.elements[element].parent
        return list(compress(range(len(self.elements)), is_found))

    def _read_flags(self) -> None:
        own = [0] * len(self.elements)
        around, near, all_words = self.around, self.near, self.all_words
        for index in self.with_text:
            element = self.elements[index]
            landmarks, words = _flags_of(element.name, element.attributes)
            own[index] = words
            parent = element.parent
            self.is_note[index] = _is_note(element.attributes) or (parent >= 0 and self.is_note[parent])
            if parent < 0:
                around[index], near[index], all_words[index] = landmarks, words, words
                continue
            if landmarks and element.name == "header" and around[parent] & _MAIN:
                landmarks = landmarks & ~_BIT["header"] | _BIT["within header"]
            grandparent = self.elements[parent].parent
            around[index] = around[parent] | landmarks
            all_words[index] = all_words[parent] | words
            near[index] = words | own[parent] | (own[grandparent] if grandparent >= 0 else 0)

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
        for index in reversed(self.with_text):
            parent = self.elements[index].parent
            if parent >= 0:
                self.characters[parent] += self.characters[index]
                self.link_characters[parent] += self.link_characters[index]
                self.blocks[parent] += self.blocks[index]
                self.prose[parent] += self.prose[index]

    def _find_spine(self) -> None:
        level = -1  # of the element that was put on the spine last
        end = -1
        leaves_at = [0] * len(self.elements)  # level on the spine at which an element, or what it stands in, leaves it
        for index in self.with_text:
            parent = self.elements[index].parent
            if parent == end and (parent < 0 or 2 * self.prose[index] > self.prose[parent]):
                end = index
                level += 1
                leaves_at[index] = level
            elif parent >= 0:
                leaves_at[index] = leaves_at[parent]
        for index in self.with_text:
            self.above_spine[index] = level - leaves_at[index]

    def containers(self, element: int) -> Key:
        """Return what is known of where an element stands."""
        parent, grandparent = self.parents(element)
        return (
            "containers",
            min(4, self.above_spine[element]),
            _share(self.link_characters[parent], self.characters[parent]),
            _mean(self.characters[parent], self.blocks[parent]),
            _mean(self.characters[grandparent], self.blocks[grandparent]),
        )

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
    _keep_notes(page, tree, kept)
    _fill_gaps(page, tree, kept)
    unlikely = UNLIKELY * limit if page.kind == "article" else 0.0
    for index, probability in enumerate(probabilities):
        if probability <= unlikely and page.blocks[index].kind not in TITLES:
            kept[index] = False
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


def _keep_notes(page: Page, tree: Tree, kept: list[bool]) -> None:
    """Keep footnotes."""
    for index, block in enumerate(page.blocks):
        kept[index] = kept[index] or (tree.is_note[block.element] and tree.is_plain(block))


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
        if not gap.start:
            _keep_opening(page, plain, kept)
        for place in reversed(gap):
            block = page.blocks[place]
            if block.kind not in HEADINGS or not tree.is_plain(block):
                break
            kept[place] = True


def _keep_opening(page: Page, plain: list[bool], kept: list[bool]) -> None:
    """Keep what stands between the page's title and its first content where code or a second heading is among it: a synopsis."""
    begin = len(plain)
    while begin and plain[begin - 1]:
        begin -= 1
    titles = [place for place in range(begin, len(plain)) if page.blocks[place].kind in HEADINGS]
    has_code = any(block.kind == "pre" for block in page.blocks[begin : len(plain)])
    if (len(titles) > 1 or (titles and has_code)) and len(plain) - titles[0] <= MAX_GAP:
        kept[titles[0] : len(plain)] = [True] * (len(plain) - titles[0])


def threshold(page: Page, probabilities: list[float]) -> float:
    """Return the probability from which a block is content on this page."""
    weighted = 0.0
    total = 0.0
    for block, probability in zip(page.blocks, probabilities, strict=True):
        weighted += len(block.text) * probability * probability
        total += len(block.text) * probability
    is_article = page.kind == "article"
    certain = CERTAIN_OF_ARTICLE if is_article else CERTAIN
    enough = ENOUGH_OF_ARTICLE if is_article else ENOUGH
    return min(certain, enough * weighted / total) if total else certain


def scores(page: Page, tree: Tree) -> list[float]:
    """Return the logit of each block."""
    always = WEIGHTS["always"]
    return [sum(map(weight_of, keys), always) / 100 for keys in _keys(page, tree)]


def features(page: Page, tree: Tree) -> list[list[str]]:
    """Return for each block the names of what is true of it."""
    return [[name for key in keys for name in _names_of(key)] for keys in _keys(page, tree)]


@lru_cache(65_536)
def weight_of(key: Key) -> int:
    """Return the sum of the weights of what a key says."""
    return sum(WEIGHTS.get(name, 0) for name in _names_of(key))


def _names_of(key: Key) -> Iterator[str]:
    """Yield the names of what a key says: each of them is a line of the table."""
    about = key[0]
    if about == "block":
        _, kind, length, links, ends_sentence, pauses, has_sign = key
        yield f"length {length}"
        yield f"length {length} links {links}"
        yield f"{kind} links {links}"
        yield f"ends a sentence {ends_sentence}"
        yield f"pauses {pauses}"
        if has_sign:
            yield "copyright sign"
    elif about == "containers":
        _, above_spine, links, mean, upper_mean = key
        yield f"above spine {above_spine}"
        yield f"parent links {links}"
        yield f"parent mean {mean}"
        yield f"grandparent mean {upper_mean}"
    elif about == "template":
        _, mean, links, count, repeated = key
        yield f"template mean {mean} links {links}"
        yield f"template count {count}"
        yield f"repeated {repeated}"
    elif about == "prose":
        _, since, until, before, after = key
        yield f"since prose {since}"
        yield f"until prose {until}"
        yield f"prose before {before}"
        yield f"prose after {after}"
    elif about == "place":
        _, place, title = key
        yield f"place {place}"
        yield f"title {title}"
    elif about == "flags":
        _, around, near = key
        yield from (f"in {flag}" for flag in FLAGS if int(around) & _BIT[flag])
        yield from (f"near {flag}" for flag in FLAGS if int(near) & _BIT[flag])
    elif about == "kind of page":
        _, page_kind, kind, length, links, around, near, all_words = key
        yield f"{page_kind} page"
        yield f"{page_kind} page {kind} links {links}"
        yield f"{page_kind} page length {length}"
        for flag in ("word comment", "word related", "word body"):
            if int(all_words) & _BIT[flag]:
                yield f"anywhere in {flag}"
                yield f"{page_kind} page anywhere in {flag}"
        yield from (f"{page_kind} page in {flag}" for flag in FLAGS if int(around) & _BIT[flag])
        yield from (f"{page_kind} page near {flag}" for flag in FLAGS if int(near) & _BIT[flag])
    elif about == "wording":
        yield from block_wording.names_of(key[1])
    elif isinstance(key, headline.Standing):
        yield from headline.names_of(key)
    else:  # previous or next
        yield " ".join(map(str, key))


def _keys(page: Page, tree: Tree) -> list[tuple[Key, ...]]:
    """Return for each block what is true of it, in groups: tuples that many blocks share."""
    blocks = page.blocks
    sizes = [_size(block) for block in blocks]
    sides: list[Key] = [("none",)]
    sides += [(block.kind, length // 2, links // 2) for block, (length, links) in zip(blocks, sizes, strict=True)]
    sides.append(("none",))
    templates, template_of = _templates(page)
    standings = headline.standings(page, tree.with_text, tree.prose)
    text_counts = Counter(block.text for block in blocks)
    is_prose = [tree.is_prose(block) for block in blocks]
    since, until = _distances(is_prose), _distances(is_prose[::-1])[::-1]
    prose = sum(len(block.text) for block, is_one in zip(blocks, is_prose, strict=True) if is_one)
    first_title = next((index for index, block in enumerate(blocks) if block.kind == "h1"), -1)
    total = max(1, sum(len(block.text) for block in blocks))
    passed = passed_prose = 0
    containers_of: dict[tuple[int, int], Key] = {}
    result: list[tuple[Key, ...]] = []
    for index, block in enumerate(blocks):
        element, text = block.element, block.text
        flags = tree.around[element], tree.near[element]
        parent = page.elements[element].parent
        siblings = parent if parent >= 0 else ~element, tree.above_spine[element]  # they stand in the same containers
        containers = containers_of.get(siblings)
        if containers is None:
            containers = containers_of[siblings] = tree.containers(element)
        own_prose = len(text) if is_prose[index] else 0
        prose_after = prose - passed_prose - own_prose
        beginning = f"{text[:LOOKED_AT]} "
        signs = _LATIN_PAUSES if beginning.isascii() else _PAUSES
        pauses = bisect_right((1, 2, 4, 8), sum(map(beginning.count, signs)))
        ends_sentence = text.rstrip(_CLOSING)[-1:] in _ENDS
        title = 0 if first_title < 0 else 1 if index < first_title else 2 if index == first_title else 3
        result.append(
            (
                ("block", block.kind, *sizes[index], ends_sentence, pauses, "©" in text),
                containers,
                (*templates[template_of[index]], min(3, text_counts[text])),
                ("prose", since[index], until[index], _part(passed_prose, prose), _part(prose_after, prose)),
                ("place", bisect_right((0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95), passed / total), title),
                ("previous", *sides[index]),
                ("next", *sides[index + 2]),
                ("flags", *flags),
                standings[index],
                ("kind of page", page.kind, block.kind, *sizes[index], *flags, tree.all_words[element] & _FAR),
                ("wording", block_wording.wording(text)),
            )
        )
        passed += len(text)
        passed_prose += own_prose
    return result


def _templates(page: Page) -> tuple[list[Key], list[int]]:
    """Return the templates that blocks are of, and for each block which: same element, attributes and parent."""
    numbers: dict[tuple[str, ...], int] = {}
    counts: list[int] = []
    lengths: list[int] = []
    links: list[int] = []
    template_of: list[int] = []
    for block in page.blocks:
        element = page.elements[block.element]
        parent = page.elements[element.parent].attributes if element.parent >= 0 else ""
        number = numbers.setdefault((element.name, element.attributes, parent, block.kind), len(counts))
        if number == len(counts):
            counts.append(0)
            lengths.append(0)
            links.append(0)
        counts[number] += 1
        lengths[number] += len(block.text)
        links[number] += block.link_characters
        template_of.append(number)
    templates: list[Key] = []
    for count, length, linked in zip(counts, lengths, links, strict=True):
        link_share = bisect_right((0.05, 0.5, 0.9), linked / length)
        templates.append(("template", _mean(length, count), link_share, bisect_right((2, 4, 8, 20), count)))
    return templates, template_of


def _size(block: Block) -> tuple[int, int]:
    """Return steps of a block's length and of its share of links."""
    length = len(block.text)
    return bisect_right((10, 25, 50, 100, 200, 500), length), bisect_right(
        (0.01, 0.25, 0.6, 0.9), block.link_characters / length
    )


def _share(part: int, whole: int) -> int:
    return bisect_right((0.05, 0.2, 0.4, 0.6, 0.9), part / max(1, whole))


def _mean(characters: int, blocks: int) -> int:
    return bisect_right((10, 25, 50, 100, 200), characters / max(1, blocks))


def _part(characters: int, prose: int) -> int:
    return bisect_right((0.001, 0.05, 0.3, 0.7, 0.95, 0.999), characters / max(1, prose))


def _distances(is_prose: list[bool]) -> list[int]:
    """Return for each block the step of its distance to the last prose before it, itself included."""
    result: list[int] = []
    distance = 1_000_000
    for is_one in is_prose:
        distance = 0 if is_one else distance + 1
        result.append(bisect_right((1, 2, 3, 6, 12, 30), distance))
    return result
