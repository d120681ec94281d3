"""Markup to text: the main content of a page, line structure and indentation kept.

Resiliparse (Bevendorff et al. 2018, lexbor inside) parses once; two extractions are compared and one is kept
whole. It does not rank, repair or rewrite blocks, does not follow links and runs no scripts.

Resiliparse does not recurse, so no input makes it run out of stack. But its main-content heuristics take time that
grows with the square of the depth, nested lists are indented, and HTML's rule for unclosed formatting elements copies
every one of them into every block that follows. `Refused` says so before any of that is paid for.
"""

import re
from collections import Counter

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

MAX_DEPTH = 512  # what Chromium's parser allows (kMaximumHTMLParserDOMTreeDepth)
MIN_DEPTH = 64  # allowed at any size
MAX_COPIES = 20_000_000  # nodes times depth, and formatting elements times tags: about 1 GB at the worst
MIN_SHARE = 0.5  # of the page without its furniture: a main-content extraction that is smaller has lost the page
MIN_LANDMARK_SHARE = 0.1  # of the same: a <main> that is smaller is a stub which a script would have filled

FURNITURE = [
    *("nav", "header", "footer", "aside", "dialog", "iframe", "button", "select"),
    *(f"[role={role}]" for role in ("navigation", "banner", "contentinfo", "dialog")),
    "[aria-hidden=true]",
]

_FORMATTING = re.compile(r"<(/?)(b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)[\s>/]", re.IGNORECASE)


class Refused(Exception):
    """Parsing this page would cost far more than its size; `args` are a reason and a detail for the drop."""


def refuse_bombs(markup: str, max_characters: int) -> None:
    """Raise `Refused` for what must not reach the parser; linear in the text."""
    if len(markup) > max_characters:
        raise Refused("html_too_large", f"{len(markup)} characters, at most {max_characters} are parsed")
    tags = markup.count("<")
    if tags * tags < MAX_COPIES:
        return
    formatting = _FORMATTING.findall(markup)
    if len(formatting) * tags > MAX_COPIES and (unclosed := _most_open(formatting)) * tags > MAX_COPIES:
        raise Refused("html_unclosed_formatting", f"{unclosed} formatting elements open at a time, {tags} tags")


def _most_open(tags: list[tuple[str, str]]) -> int:
    """The most elements that are open at a time, each name counted for itself and then added up."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for slash, name in tags:
        if not slash:
            now[name] += 1
            most[name] = max(most[name], now[name])
        elif now[name]:
            now[name] -= 1
    return most.total()


def _refuse_depth(tree: HTMLTree, tags: int) -> None:
    limit = max(MIN_DEPTH, min(MAX_DEPTH, MAX_COPIES // max(1, tags)))
    # The one question about depth that the parser's library answers without a walk in Python.
    if tree.document and tree.document.query_selector(">".join(["*"] * (limit + 1))) is not None:
        raise Refused("html_too_deep", f"more than {limit} elements deep, with {tags} tags")


def extract(markup: str, max_characters: int) -> str:
    """The main content of a page as plain text. Raises `Refused`.

    The heuristics win unless they keep less than half of what is left when navigation, headers, footers and the
    like are cut out, which happens on reference pages, tables and listings.
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
    found = tree.document.query_selector("main, [role=main]") if tree.document else None
    return _text(HTMLTree.parse(found.html), skip_elements=FURNITURE) if found is not None else ""


def _text(tree: HTMLTree, main_content: bool = False, skip_elements: list[str] | None = None) -> str:
    return extract_plain_text(tree, preserve_formatting=True, alt_texts=False, main_content=main_content, skip_elements=skip_elements)
