"""Links of a page and addresses of a sitemap. Nothing is fetched here."""

import html
import re
import zlib
from html.parser import HTMLParser

from privllm.fetch.web_request import Refused, normal_url

LOCATION = re.compile(rb"<loc>\s*(?:<!\[CDATA\[)?\s*([^<\]]{1,4000}?)\s*(?:\]\]>)?\s*</loc>")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.links: list[str] = []
        self.is_followed = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "base" and not self.base:
            self.base = values.get("href", "")
        elif tag == "meta" and values.get("name", "").lower() == "robots":
            content = values.get("content", "").lower()
            self.is_followed = self.is_followed and not re.search(r"\b(?:nofollow|none)\b", content)
        elif tag in ("a", "area") and "href" in values and "nofollow" not in values.get("rel", "").lower().split():
            self.links.append(values["href"])


def links_of(url: str, page: bytes) -> list[str]:
    """Return the addresses that a page links to, each once, in its order; none where the page asks not to follow."""
    parser = _Links()
    parser.feed(page.decode("utf-8", "replace"))
    if not parser.is_followed:
        return []
    return _normal(parser.links, _base(url, parser.base))


def _base(url: str, written: str) -> str:
    try:
        return normal_url(written, url) if written else url
    except Refused:
        return url


def sitemap_entries(url: str, data: bytes, max_bytes: int) -> tuple[list[str], list[str]]:
    """Return (pages, further sitemaps) of a sitemap, gzipped or not; more than `max_bytes` are not unpacked."""
    if data.startswith(b"\x1f\x8b"):
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, max_bytes)
        except zlib.error:
            return [], []
    entries = _normal([html.unescape(entry.decode("utf-8", "replace")) for entry in LOCATION.findall(data)], url)
    return ([], entries) if b"<sitemapindex" in data[:2000] else (entries, [])


def _normal(urls: list[str], base: str) -> list[str]:
    found: dict[str, None] = {}
    for url in urls:
        try:
            found[normal_url(url, base)] = None
        except Refused:
            continue
    return list(found)
