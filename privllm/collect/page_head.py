"""What an HTML page says of itself in its head: title, author and day.

Only the beginning of a page is searched, by patterns that take time linear in it: nothing is parsed, so no markup is too costly.
"""

import re
from html import unescape

from privllm.collect.parsed import About

SEARCHED = 200_000  # characters of a page
MAX_LENGTH = 300  # characters of a title or an author
TITLES = ("og:title", "citation_title", "dc.title", "dcterms.title", "twitter:title")
AUTHORS = ("author", "article:author", "citation_author", "dc.creator", "dcterms.creator", "parsely-author")
DATES = (
    *("article:published_time", "datepublished", "citation_publication_date", "citation_date", "dc.date.issued"),
    *("dcterms.issued", "dcterms.date", "dc.date", "date", "pubdate", "publishdate", "parsely-pub-date"),
)
_META = re.compile(r"<meta\b([^>]{0,4000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-z:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,2000})", re.IGNORECASE)
_TIME = re.compile(r"""<time\b[^>]{0,500}\bdatetime\s*=\s*["']?(\d{4}-\d\d-\d\d)""", re.IGNORECASE)
_PUBLISHED = re.compile(r'"datePublished"\s*:\s*"(\d{4}-\d\d-\d\d)')  # of JSON-LD
_DAY = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)")


def about_page(markup: str) -> About:
    """Return what a page says of itself; "" for what it does not."""
    beginning = markup[:SEARCHED]
    told = _told_by_meta(beginning)
    title = _first(told, TITLES) or _line(_title(beginning))
    authors = [author for author in (told.get(name, "") for name in AUTHORS) if author and "://" not in author]
    return About(title, authors[0] if authors else "", _date(told, beginning))


def _told_by_meta(markup: str) -> dict[str, str]:
    """Return {name in lower case: content} of the `<meta>` elements, the first of each name."""
    told: dict[str, str] = {}
    for meta in _META.finditer(markup):
        attributes = {name.lower(): "".join(values) for name, *values in _ATTRIBUTE.findall(meta[1])}
        name = attributes.get("name") or attributes.get("property") or attributes.get("itemprop") or ""
        content = _line(attributes.get("content", ""))
        if name and content:
            told.setdefault(name.lower(), content)
    return told


def _title(markup: str) -> str:
    found = _TITLE.search(markup)
    return found[1] if found else ""


def _date(told: dict[str, str], markup: str) -> str:
    """Return the day of publication as YYYY-MM-DD."""
    for name in DATES:
        day = _DAY.search(told.get(name, ""))
        if day:
            return "-".join(day.groups())
    found = _PUBLISHED.search(markup) or _TIME.search(markup)
    return found[1] if found else ""


def _first(told: dict[str, str], names: tuple[str, ...]) -> str:
    return next((told[name] for name in names if name in told), "")


def _line(text: str) -> str:
    """Return a text without references and on one line, of MAX_LENGTH at most."""
    return " ".join(unescape(text).split())[:MAX_LENGTH]
