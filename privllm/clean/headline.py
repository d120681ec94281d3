"""The headline of a page, and where each block stands to it: before or after it, in its part of the page or in another.

The headline is the heading that has most words of the page's <title>, the first <h1> where none has enough. Its part of the page is
the smallest element around it that has a fair share of the prose: the article, without what stands beside it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from privllm.clean.page_blocks import Element, Page

HEADLINES = frozenset(("h1", "h2", "h3"))
MAX_LENGTH = 300  # characters of a headline
MIN_WORDS = 2
ENOUGH_WORDS = 0.6  # of the headline's words, that are the title's too
MIN_PROSE = 200  # characters of the headline's part of the page
MIN_SHARE = 0.15  # of the page's prose
_WORD = re.compile(r"\w+")


class Standing(NamedTuple):
    """Where a block stands to the headline: a group of facts by which weights are found."""

    about: str
    page_kind: str
    order: str  # "before", "is", "after", or "none" where there is no headline
    is_title: bool
    is_within: bool  # the headline's part of the page
    share: int  # step of this part's share of the page's prose
    steps: int  # step of how far up from the headline the element is that holds both


def names_of(standing: Standing) -> Iterator[str]:
    """Yield the names of what a standing says."""
    within = "within" if standing.is_within else "outside"
    yield f"headline {standing.order} title {standing.is_title}"
    yield f"headline {standing.order} {within} {standing.share}"
    yield f"headline above {standing.steps}"
    yield f"{standing.page_kind} page headline {standing.order} {within}"


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


def standings(page: Page, with_text: Sequence[int], prose: Sequence[int]) -> list[Standing]:
    """Return where each block stands to the headline; of elements, those with text and the prose below each are given."""
    headline, is_title = find_headline(page)
    if headline < 0:
        none = Standing("headline", page.kind, "none", False, False, 0, 0)
        return [none] * len(page.blocks)
    steps = _steps(page.elements, with_text, page.blocks[headline].element)
    whole = max(1, prose[0])
    part = page.blocks[headline].element
    while part >= 0 and prose[part] < max(MIN_PROSE, MIN_SHARE * whole):
        part = page.elements[part].parent
    highest = steps[part] if part >= 0 else -1
    share = bisect_right((0.3, 0.6, 0.95), prose[part] / whole) if part >= 0 else 9
    result = []
    made: dict[tuple[str, int], Standing] = {}  # blocks share what is said of them
    for index, block in enumerate(page.blocks):
        order = "before" if index < headline else "is" if index == headline else "after"
        step = steps[block.element]
        standing = made.get((order, step))
        if standing is None:
            up = bisect_right((1, 2, 3, 4, 6, 9), step)
            standing = Standing("headline", page.kind, order, is_title, step <= highest, share, up)
            made[order, step] = standing
        result.append(standing)
    return result


def _steps(elements: list[Element], with_text: Sequence[int], headline: int) -> list[int]:
    """Return for each element with text how many steps above the headline's the lowest is that holds both."""
    steps = [-1] * len(elements)
    up = 0
    while headline >= 0:
        steps[headline] = up
        up += 1
        headline = elements[headline].parent
    for index in with_text:
        if steps[index] < 0:
            steps[index] = steps[elements[index].parent] if elements[index].parent >= 0 else up
    return steps
