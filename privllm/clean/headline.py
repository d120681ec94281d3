"""The headline of a page, and where each block stands to it: before or after it, in its part of the page or in another.

The headline is the heading that has most words of the page's <title>, the first <h1> where none has enough. Its part of the page is
the smallest element around it that has a fair share of the prose: the article, without what stands beside it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from privllm.clean.page_blocks import Page
from privllm.clean.page_tree import Tree

HEADLINES = frozenset(("h1", "h2", "h3"))
MAX_LENGTH = 300  # characters of a headline
MIN_WORDS = 2
ENOUGH_WORDS = 0.6  # of the headline's words, that are the title's too
MIN_PROSE = 200  # characters of the headline's part of the page
MIN_SHARE = 0.15  # of the page's prose
_WORD = re.compile(r"\w+")


ORDERS = ("before", "is", "after", "none")  # of a block and the headline; "none" where there is no headline
STEPS = np.array((1, 2, 3, 4, 6, 9))  # up from the headline, from which a step is the next
SHARES = (0, 1, 2, 3, 9)  # 9 where no part of the page has enough prose
Steps = npt.NDArray[np.int64]


class Standings(NamedTuple):
    """Where the blocks of a page stand to its headline."""

    order: Steps  # of each block: its place in `ORDERS`
    is_title: int  # whether the title says what the headline is
    is_within: Steps  # of each block: whether it stands in the headline's part of the page
    share: int  # place in `SHARES` of the step of this part's share of the page's prose
    steps: Steps  # of each block: step of how far up from the headline the element is that holds both


def names_of(page_kind: str, order: str, is_title: bool, is_within: bool, share: int, steps: int) -> Iterator[str]:
    """Yield the names of what a standing says."""
    within = "within" if is_within else "outside"
    yield f"headline {order} title {is_title}"
    yield f"headline {order} {within} {share}"
    yield f"headline above {steps}"
    yield f"{page_kind} page headline {order} {within}"


def find_headline(page: Page) -> tuple[int, bool]:
    """Return (index of the block that is the page's headline, whether the title says so); -1 for none."""
    title = set(_WORD.findall(page.title.lower()))
    best, best_score, first = -1, ENOUGH_WORDS, -1
    for index, block in enumerate(page.blocks):
        if block.kind not in HEADLINES or len(block.text) > MAX_LENGTH:
            continue
        if first < 0 and block.kind == "h1":
            first = index
        words = set(_WORD.findall(block.text.lower()))
        if not title or len(words) < MIN_WORDS:
            continue
        common = len(words & title)
        score = common / len(words) * min(1.0, 2 * common / len(title)) * (1.05 - 0.05 * int(block.kind[1]))
        if score > best_score:
            best, best_score = index, score
    return (best, True) if best >= 0 else (first, False)


def standings(page: Page, tree: Tree) -> Standings:
    """Return where each block stands to the headline."""
    headline, is_title = find_headline(page)
    count = len(page.blocks)
    if headline < 0:
        none = np.zeros(count, np.int64)
        return Standings(none + ORDERS.index("none"), 0, none, 0, none)
    element = page.blocks[headline].element
    steps = _steps(tree, element)
    whole = max(1, int(tree.prose[0]))
    part = element
    while part >= 0 and tree.prose[part] < max(MIN_PROSE, MIN_SHARE * whole):
        part = page.elements.parents[part]
    highest = steps[part] if part >= 0 else -1
    share = bisect_right((0.3, 0.6, 0.95), tree.prose[part] / whole) if part >= 0 else SHARES.index(9)
    order = np.sign(np.arange(count) - headline) + 1
    own_steps = steps[tree.element_of]
    is_within = (own_steps <= highest).astype(np.int64)
    return Standings(order, int(is_title), is_within, share, STEPS.searchsorted(own_steps, "right"))


def _steps(tree: Tree, headline: int) -> Steps:
    """Return for each element how many steps above the headline's the lowest is that holds both."""
    chain = []
    while headline >= 0:
        chain.append(headline)
        headline = int(tree.parents[headline])
    steps = np.full(len(tree.parents), len(chain))
    for up in reversed(range(len(chain))):
        steps[chain[up] : tree.ends[chain[up]]] = up
    return steps
