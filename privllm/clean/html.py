"""Text of HTML pages: the main content, as light Markdown or plain.

Resiliparse (Bevendorff et al. 2018, on lexbor) parses once. `page_blocks` reads what it repaired, `main_content`
chooses, `page_text` writes. Links are not followed and no script runs.

Nothing here recurses, so no input makes it run out of stack. But what a page costs can grow with its size times its depth,
and HTML's rule for unclosed formatting elements copies each of them into every block that follows.
`ParsingTooCostly` is raised before these costs arise.
"""

import re
from collections import Counter

from resiliparse.parse.html import HTMLTree

from privllm.clean.main_content import choose
from privllm.clean.page_blocks import Page, read_blocks
from privllm.clean.page_kind import kind_of
from privllm.clean.page_text import write
from privllm.core.page_title import title_of

MAX_DEPTH = 512  # what Chromium's parser allows (kMaximumHTMLParserDOMTreeDepth)
MIN_DEPTH = 64  # allowed at any size
MAX_COPIES = 20_000_000  # nodes times depth, and formatting elements times tags: about 1 GB at the worst

_FORMATTING = re.compile(
    r"<(/?)(?=[bcefinstu])(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)[\s>/]", re.IGNORECASE
)


class ParsingTooCostly(Exception):
    """A page whose parsing would cost far more than its size; `args` are reason and detail."""


def refuse_bombs(markup: str, max_characters: int) -> int:
    """Return the number of tags. Raises `ParsingTooCostly` for a page that must not reach the parser; linear in the text."""
    if len(markup) > max_characters:
        raise ParsingTooCostly("html_too_large", f"{len(markup)} characters, at most {max_characters} are parsed")
    tags = markup.count("<")
    if tags * tags < MAX_COPIES:
        return tags
    formatting = _FORMATTING.findall(markup)
    if len(formatting) * tags <= MAX_COPIES:
        return tags
    unclosed = _most_open(formatting)
    if unclosed * tags > MAX_COPIES:
        detail = f"{unclosed} formatting elements open at a time, {tags} tags"
        raise ParsingTooCostly("html_unclosed_formatting", detail)
    return tags


def _most_open(tags: list[tuple[str, str]]) -> int:
    """Return the sum over names of the largest number of elements that are open at a time."""
    open_now: Counter[str] = Counter()
    most_open: Counter[str] = Counter()
    for slash, name in tags:
        if not slash:
            open_now[name] += 1
            most_open[name] = max(most_open[name], open_now[name])
        elif open_now[name]:
            open_now[name] -= 1
    return most_open.total()


def _refuse_depth(tree: HTMLTree, tags: int) -> None:
    """Raise `ParsingTooCostly` for a page whose elements are nested too deeply."""
    if tags * tags < MAX_COPIES:  # at any depth
        return
    limit = max(MIN_DEPTH, min(MAX_DEPTH, MAX_COPIES // max(1, tags)))
    # A selector is the only test of depth that the parser's library does without a walk in Python.
    deeper_than_limit = ">".join(["*"] * (limit + 1))
    if tree.document and tree.document.query_selector(deeper_than_limit) is not None:
        raise ParsingTooCostly("html_too_deep", f"more than {limit} elements deep, with {tags} tags")


def extract(markup: str, max_characters: int, layout: str = "markdown") -> str:
    """Return the main content of a page in a layout of `page_text.FORMATS`. Raises `ParsingTooCostly`."""
    page = read_page(markup, max_characters)
    kept = choose(page)
    return write([block for block, is_kept in zip(page.blocks, kept, strict=True) if is_kept], layout)


def read_page(markup: str, max_characters: int) -> Page:
    """Return all blocks of a page. Raises `ParsingTooCostly`."""
    tags = refuse_bombs(markup, max_characters)
    tree = HTMLTree.parse(markup)
    if tree.document is None:
        return Page()
    _refuse_depth(tree, tags)
    top = tree.body or tree.document  # a page of frames has no body
    page = read_blocks(top.html)
    page.kind = kind_of(markup)
    page.title = title_of(markup)
    return page
