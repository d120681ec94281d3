"""Text of HTML pages: the main content, with line structure and indentation.

Resiliparse (Bevendorff et al. 2018, on lexbor) parses once; two extractions are compared and one is
taken whole. Blocks are not ranked, repaired or rewritten, links are not followed and no script
runs.

Resiliparse does not recurse, so no input makes it run out of stack. But its main-content heuristics
take time that grows with the square of the depth, nested lists are indented, and HTML's rule for
unclosed formatting elements copies each of them into every block that follows. `ParsingTooCostly`
is raised before any of these costs arise.
"""

import re
from collections import Counter

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

MAX_DEPTH = 512  # what Chromium's parser allows (kMaximumHTMLParserDOMTreeDepth)
MIN_DEPTH = 64  # allowed at any size
MAX_COPIES = 20_000_000  # nodes times depth, and formatting elements times tags: about 1 GB at the worst
MIN_SHARE = 0.5  # of the page without its furniture: a smaller main-content extraction has lost the page
MIN_LANDMARK_SHARE = 0.1  # of the same: a smaller <main> is a stub that a script would have filled

FURNITURE = [
    *("nav", "header", "footer", "aside", "dialog", "iframe", "button", "select"),
    *(f"[role={role}]" for role in ("navigation", "banner", "contentinfo", "dialog")),
    "[aria-hidden=true]",
]

_FORMATTING = re.compile(r"<(/?)(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)[\s>/]", re.IGNORECASE)


class ParsingTooCostly(Exception):
    """A page whose parsing would cost far more than its size; `args` are reason and detail."""


def refuse_bombs(markup: str, max_characters: int) -> None:
    """Raise `ParsingTooCostly` for a page that must not reach the parser; linear in the text."""
    if len(markup) > max_characters:
        raise ParsingTooCostly("html_too_large", f"{len(markup)} characters, at most {max_characters} are parsed")
    tags = markup.count("<")
    if tags * tags < MAX_COPIES:
        return
    formatting = _FORMATTING.findall(markup)
    if len(formatting) * tags <= MAX_COPIES:
        return
    unclosed = _most_open(formatting)
    if unclosed * tags > MAX_COPIES:
        detail = f"{unclosed} formatting elements open at a time, {tags} tags"
        raise ParsingTooCostly("html_unclosed_formatting", detail)


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
    limit = max(MIN_DEPTH, min(MAX_DEPTH, MAX_COPIES // max(1, tags)))
    # A selector is the only test of depth that the parser's library does without a walk in Python.
    deeper_than_limit = ">".join(["*"] * (limit + 1))
    if tree.document and tree.document.query_selector(deeper_than_limit) is not None:
        raise ParsingTooCostly("html_too_deep", f"more than {limit} elements deep, with {tags} tags")


def extract(markup: str, max_characters: int) -> str:
    """Return the main content of a page as plain text. Raises `ParsingTooCostly`.

    The heuristics win unless they keep less than half of the text without navigation, headers,
    footers and the like, which happens on reference pages, tables and listings.
    """
    refuse_bombs(markup, max_characters)
    tree = HTMLTree.parse(markup)
    if tree.document is None:
        return ""
    _refuse_depth(tree, markup.count("<"))
    whole = _text(tree, skip_elements=FURNITURE)
    landmark = _landmark(tree)
    if len(landmark) > MIN_LANDMARK_SHARE * len(whole):
        whole = landmark
    main = _text(tree, main_content=True)
    return main if len(main) > MIN_SHARE * len(whole) else whole


def _landmark(tree: HTMLTree) -> str:
    """Return the text of the page's <main>, "" where it has none."""
    main = tree.document.query_selector("main, [role=main]") if tree.document else None
    if main is None:
        return ""
    return _text(HTMLTree.parse(main.html), skip_elements=FURNITURE)


def _text(tree: HTMLTree, main_content: bool = False, skip_elements: list[str] | None = None) -> str:
    return extract_plain_text(
        tree,
        preserve_formatting=True,
        alt_texts=False,
        main_content=main_content,
        skip_elements=skip_elements,
    )
