"""Markup to text: the main content of a page, line structure and indentation kept.

Resiliparse (Bevendorff et al. 2018, lexbor inside) parses once; two extractions are compared and one is kept
whole. It does not rank, repair or rewrite blocks, does not follow links and runs no scripts.

Resiliparse never recurses, but its main-content heuristics take time that grows with the square of the depth, and
HTML's rule for unclosed formatting elements copies every one of them into every block that follows. So `trouble`
looks at the tags, in linear time, before the parser sees them.
"""

import re
from collections import Counter

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

MAX_DEPTH = 512  # what Chromium's parser allows (kMaximumHTMLParserDOMTreeDepth)
MAX_COPIES = 10_000_000  # nodes that the copying of formatting elements may make, about 1 GB
MIN_SHARE = 0.5  # of the page without its furniture: a main-content extraction that is smaller has lost the page
MIN_LANDMARK_SHARE = 0.1  # of the same: a <main> that is smaller is a stub which a script would have filled

FURNITURE = [
    *("nav", "header", "footer", "aside", "dialog", "iframe", "button", "select"),
    *(f"[role={role}]" for role in ("navigation", "banner", "contentinfo", "dialog")),
    "[aria-hidden=true]",
]

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
_FORMATTING = re.compile("b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u", re.IGNORECASE)
# These have no content, or the next of their kind closes them: many of them are not depth.
_FLAT = re.compile(
    "a|area|base|body|br|col|colgroup|dd|dt|embed|head|hr|html|img|input|li|link|meta|optgroup|option|p|param|rb|rp|rt|rtc|source|tbody|td|tfoot|th"
    "|thead|tr|track|wbr",
    re.IGNORECASE,
)


def trouble(markup: str, max_characters: int) -> tuple[str, str] | None:
    """(reason, detail) where parsing `markup` would cost far more than its size; None where it is safe."""
    if len(markup) > max_characters:
        return "html_too_large", f"{len(markup)} characters, at most {max_characters} are parsed"
    if markup.count("<") <= MAX_DEPTH:
        return None
    tags, depth, formatting = nesting(markup)
    if depth > MAX_DEPTH:
        return "html_too_deep", f"{depth} elements deep, at most {MAX_DEPTH} are parsed"
    if formatting * tags > MAX_COPIES:
        return "html_unclosed_formatting", f"{formatting} unclosed formatting elements over {tags} tags"
    return None


def nesting(markup: str) -> tuple[int, int, int]:
    """(tags, depth, formatting depth), the latter two bounded from above by counting tags, not by parsing.

    A closing tag only ever closes its own name, so stray ones cannot hide the depth of others.
    """
    tags = _TAG.findall(markup)
    opened = Counter(name for slash, name in tags if not slash)
    deepest = opened if _sum(opened) <= MAX_DEPTH else _deepest(tags)
    return len(tags), _sum(deepest), sum(number for name, number in deepest.items() if _FORMATTING.fullmatch(name))


def _sum(numbers: Counter[str]) -> int:
    return sum(number for name, number in numbers.items() if not _FLAT.fullmatch(name))


def _deepest(tags: list[tuple[str, str]]) -> Counter[str]:
    """The most elements of each name that are open at a time, if every closing tag closes one."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for slash, name in tags:
        if not slash:
            now[name] += 1
            most[name] = max(most[name], now[name])
        elif now[name]:
            now[name] -= 1
    return most


def extract(markup: str) -> str:
    """The main content of a page as plain text; call it only where `trouble` found none.

    The heuristics win unless they keep less than half of what is left when navigation, headers, footers and the
    like are cut out, which happens on reference pages, tables and listings.
    """
    tree = HTMLTree.parse(markup)
    if tree.document is None:
        return ""
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
