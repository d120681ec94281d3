"""Which blocks of a page are its content: a logistic regression over what each block is and where it stands.

The features are those of the literature: length, share of links and tag of a block (Kohlschütter et al. 2010), its neighbours'
and containers' (Vogels et al. 2018), HTML's landmarks, and words that authors give to classes and ids. Each is true or
false, so a block's score is a sum of the weights of what is true (`block_features`). `main_content_weights` holds the
table; `benchmarks/fit_main_content.py` fits it.

A page decides by its own scale too: a block stays if it is `ENOUGH` of what the page's content is, so a page
of which all blocks look alike does not come out empty.
"""

from itertools import compress
from math import exp

import numpy as np
import numpy.typing as npt

from privllm.clean.block_features import scores
from privllm.clean.page_blocks import HEADINGS, Page
from privllm.clean.page_tree import Booleans, Integers, Tree

ENOUGH = 0.7  # of the probability of the page's content
CERTAIN = 0.65  # a probability that is enough on every page
ENOUGH_OF_ARTICLE = (
    0.75  # the same of a page that says to machines that it is an article: published, with much around and amid it
)
CERTAIN_OF_ARTICLE = 0.7
UNLIKELY = 0.75  # of the probability from which a block is content: below, nothing amid an article is
TITLES = frozenset(("h1", "h2"))  # stay above content however unlikely, since people's text often begins below them
Floats = npt.NDArray[np.float64]
MAX_GAP = 20  # blocks between content that may be content too


def choose(page: Page) -> list[bool]:
    """Return for each block whether it is content."""
    if not page.blocks:
        return []
    tree = Tree(page)
    wholes = _wholes(page)
    logits = scores(page, tree)
    own = np.array([1 / (1 + exp(-logit)) for logit in logits])  # by `math`, which is the same everywhere
    probabilities = _shared_by_lists(tree, wholes, own)
    limit = threshold(page, tree.length_of, probabilities)
    kept = probabilities > limit
    _keep_lists_of_content(tree, wholes, kept)
    kept |= tree.is_note[tree.element_of] & tree.is_plain
    kept = np.array(_gaps_filled(page, tree.is_plain.tolist(), kept.tolist()))
    if page.kind == "article":
        is_title = np.array([block.kind in TITLES for block in page.blocks])
        kept &= (probabilities > UNLIKELY * limit) | is_title
    return kept.tolist()


def _keep_lists_of_content(tree: Tree, wholes: Integers, kept: Booleans) -> None:
    """Keep lists and tables without many links in a part of the page, or beside one, of which something is content."""
    has_own = np.zeros(len(tree.parents), np.int64)
    has_own[tree.element_of[kept]] = 1
    before = np.concatenate(([0], np.cumsum(has_own)))
    has_content = before[tree.ends] > before[:-1]
    parents, grandparents = tree.above(wholes)
    is_near = has_content[parents] | has_content[grandparents]
    is_plain = tree.is_plain & (2 * tree.link_characters[wholes] <= tree.characters[wholes])
    kept |= (wholes >= 0) & is_near & is_plain


def _shared_by_lists(tree: Tree, wholes: Integers, probabilities: Floats) -> Floats:
    """Return the probabilities, for the items of a list and the rows of a table those of all of it, by length."""
    places = wholes + 1  # 0 for none
    weighted = np.bincount(places, tree.length_of * probabilities)
    lengths = np.bincount(places, tree.length_of)
    return np.where(wholes < 0, probabilities, (weighted / np.maximum(1, lengths))[places])


def _wholes(page: Page) -> Integers:
    """Return for each block the list or table whose item or row it is, -1 for none."""
    names, parents = page.elements.names, page.elements.parents
    wholes = [
        block.table if block.cells else parents[block.element] if names[block.element] == "li" else -1
        for block in page.blocks
    ]
    return np.array(wholes, np.int64)


def _gaps_filled(page: Page, is_plain: list[bool], is_kept: list[bool]) -> list[bool]:
    """Return with those kept short blocks between content, and headings of what follows, unless marked as something else."""
    kept = list(is_kept)
    start = 0
    for index in compress(range(len(kept)), is_kept):
        if start == index:
            start = index + 1
            continue
        plain = is_plain[start:index]
        if start and len(plain) <= MAX_GAP and all(plain):
            kept[start:index] = plain
            start = index + 1
            continue
        if not start:
            _keep_opening(page, plain, kept)
        for place in range(index - 1, start - 1, -1):
            if page.blocks[place].kind not in HEADINGS or not is_plain[place]:
                break
            kept[place] = True
        start = index + 1
    return kept


def _keep_opening(page: Page, plain: list[bool], kept: list[bool]) -> None:
    """Keep what stands between the page's title and its first content where code or a second heading is among it: a synopsis."""
    begin = len(plain)
    while begin and plain[begin - 1]:
        begin -= 1
    titles = [place for place in range(begin, len(plain)) if page.blocks[place].kind in HEADINGS]
    has_code = any(block.kind == "pre" for block in page.blocks[begin : len(plain)])
    if (len(titles) > 1 or (titles and has_code)) and len(plain) - titles[0] <= MAX_GAP:
        kept[titles[0] : len(plain)] = [True] * (len(plain) - titles[0])


def threshold(page: Page, lengths: Integers, probabilities: Floats) -> float:
    """Return the probability from which a block is content on this page."""
    weights = lengths * probabilities
    # sums of cumsum, since those of `sum` depend on the processor
    total = float(np.cumsum(weights)[-1])
    weighted = float(np.cumsum(weights * probabilities)[-1])
    is_article = page.kind == "article"
    certain = CERTAIN_OF_ARTICLE if is_article else CERTAIN
    enough = ENOUGH_OF_ARTICLE if is_article else ENOUGH
    return min(certain, enough * weighted / total) if total else certain
