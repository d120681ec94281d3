"""What an HTML page says of itself in its head: title, author and day.

Only the beginning of a page is searched, by patterns that take time linear in it: nothing is parsed, so no markup is too costly.
"""

import re
from collections import defaultdict
from html import unescape

from privllm.collect.parsed import About
from privllm.core.page_title import title_of

SEARCHED = 200_000  # characters of a page
MAX_LENGTH = 300  # characters of a title or of all authors
AND = ", "  # between authors
TITLES = ("og:title", "citation_title", "dc.title", "dcterms.title", "twitter:title")
AUTHORS = ("author", "article:author", "citation_author", "dc.creator", "dcterms.creator", "parsely-author")
DATES = (
    *("article:published_time", "datepublished", "citation_publication_date", "citation_date", "dc.date.issued"),
    *("dcterms.issued", "dcterms.date", "dc.date", "date", "pubdate", "publishdate", "parsely-pub-date"),
)
_META = re.compile(r"<meta\b([^>]{0,4000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-z:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_TIME = re.compile(r"""<time\b[^>]{0,500}\bdatetime\s*=\s*["']?(\d{4}-\d\d-\d\d)""", re.IGNORECASE)
_PUBLISHED = re.compile(r'"datePublished"\s*:\s*"(\d{4}-\d\d-\d\d)')  # of JSON-LD
_DAY = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)")


def about_page(markup: str) -> About:
    """Return what a page says of itself; "" for what it does not."""
    beginning = markup[:SEARCHED]
    told = _told_by_meta(beginning)
    title = (_first(told, TITLES) or title_of(beginning))[:MAX_LENGTH]
    return About(title, _first(told, AUTHORS)[:MAX_LENGTH], _date(told, beginning))


def _told_by_meta(markup: str) -> dict[str, str]:
    """Return {name in lower case: content} of the `<meta>` elements: the first of each name, and all authors."""
    told: dict[str, str] = {}
    authors: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for meta in _META.finditer(markup):
        attributes = {name.lower(): "".join(values) for name, *values in _ATTRIBUTE.findall(meta[1])}
        name = (attributes.get("name") or attributes.get("property") or attributes.get("itemprop") or "").lower()
        content = _line(attributes.get("content", ""))
        if not name or not content:
            continue
        if name not in AUTHORS:
            told.setdefault(name, content)
        elif "://" not in content:
            authors[name][content] = None
    return told | {name: AND.join(contents) for name, contents in authors.items()}


def _date(told: dict[str, str], markup: str) -> str:
    """Return the day of publication as YYYY-MM-DD."""
    for name in DATES:
        day = _DAY.search(told.get(name, ""))
        if day:
            return "-".join(day.groups())
    found = (_PUBLISHED.search(markup) if "datePublished" in markup else None) or _TIME.search(markup)
    return found[1] if found else ""


def _first(told: dict[str, str], names: tuple[str, ...]) -> str:
    return next((told[name] for name in names if name in told), "")


def _line(text: str) -> str:
    """Return a text without references and on one line, of MAX_LENGTH at most."""
    return " ".join(unescape(text).split())[:MAX_LENGTH]
