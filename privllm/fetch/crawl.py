"""Fetching listed pages, and those that they link to on their host, into a web archive.

Before every request, redirects included, the host's robots.txt is asked, its time between two requests is kept, and its
address is checked. Of robots.txt `urllib.robotparser` reads the rules: wildcards within a path are not known to it.
Pages run no scripts. What the archive holds is not fetched again, but its links are followed.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.fetch.links import links_of, sitemap_entries
from privllm.fetch.warc import SUFFIX, Archive
from privllm.fetch.web_request import Answer, Limits, Refused, get, normal_url

PRODUCT = "privllm-fetch"  # the name that robots.txt may address
PAGES = frozenset({"text/html", "application/xhtml+xml", "text/plain", "text/markdown", "application/pdf"})
MARKUP = ("text/html", "application/xhtml+xml")
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
MOST_SITEMAPS = 50  # of a host
ROBOTS_BYTES = 512_000  # that must at least be read (RFC 9309)
LONGEST_DELAY = 60.0  # seconds that a robots.txt may ask for between two requests
FETCHED, KEPT, LEFT = "fetched", "in the archive already", "not reached"


@dataclass
class FetchConfig:
    """What to fetch, and how politely."""

    depth: int = 0  # links to follow from a listed page, [0, 100]
    sitemap: bool = False  # add the pages of each host's sitemaps
    delay: float = 1.0  # seconds between two requests to a host, [0.1, 3600]; more where robots.txt says so
    max_pages: int = 1_000  # requested in one run, [1, 10,000,000]
    max_megabytes: float = 20.0  # of a page, (0, 1000]
    contact: str = ""  # an address or a URL that servers are told
    allow_private: bool = False  # ask hosts of private networks too

    def __post_init__(self) -> None:
        require(0 <= self.depth <= 100, "--depth", "between 0 and 100")
        require(0.1 <= self.delay <= 3600, "--delay", "between 0.1 and 3,600 seconds")
        require(1 <= self.max_pages <= 10_000_000, "--max-pages", "between 1 and 10,000,000")
        require(0 < self.max_megabytes <= 1000, "--max-megabytes", "above 0 and at most 1,000")
        require(self.contact.isascii() and self.contact.isprintable(), "--contact", "an address or URL, in ASCII")

    @property
    def agent(self) -> str:
        return f"{PRODUCT} (+{self.contact})" if self.contact else PRODUCT


@dataclass
class Summary:
    """What became of every address; the counts add up to `found`."""

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)  # {address: (reason, detail)}
    interrupted: bool = False

    @property
    def found(self) -> int:
        return len(self.outcomes)

    @property
    def counts(self) -> Counter[str]:
        """Number of the addresses by reason."""
        return Counter(reason for reason, _ in self.outcomes.values())

    def lines(self) -> Iterator[str]:
        """Yield the counts in words, with an example of what was not fetched."""
        counts = self.counts
        yield f"{self.found:,} addresses: {counts[FETCHED]:,} {FETCHED}, {counts[KEPT]:,} {KEPT}"
        examples: dict[str, str] = {}
        for url, (reason, detail) in self.outcomes.items():
            examples.setdefault(reason, f"{url} ({detail})" if detail else url)
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            if reason not in (FETCHED, KEPT):
                yield f"  {count:>7,}  {reason}, such as {examples[reason]}"


def read_urls(path: Path) -> list[str]:
    """Return the addresses of a file, one a line; lines that begin with # are passed over.

    Raises UserError, with the line, for one that is no address, and for a file without any.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}. It holds an address a line.") from error
    urls: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            urls[normal_url(line)] = None
        except Refused as refused:
            reason = f"{path}, line {number}: {line.strip()} cannot be fetched ({refused.reason})"
            raise UserError(f"{reason}. Write it as https://example.org/page.") from refused
    if not urls:
        raise UserError(f"{path} holds no address: write one a line, such as https://example.org/handbook/.")
    return list(urls)


class _Host:
    """What is known of a host, by its scheme and port."""

    def __init__(self) -> None:
        self.ready = 0.0  # when it may be asked again
        self.robots: RobotFileParser | None = None


class Crawl:
    """One run of `privllm fetch`."""

    def __init__(self, cfg: FetchConfig, archive: Archive, sleep: Callable[[float], None] = time.sleep) -> None:
        self.cfg, self.archive, self.sleep = cfg, archive, sleep
        self.limits = Limits(cfg.agent, int(cfg.max_megabytes * 1e6), cfg.allow_private)
        self.hosts: dict[str, _Host] = {}
        self.scope: set[str] = set()  # hosts whose links are followed
        self.seen: set[str] = set()
        self.waiting: deque[tuple[str, int]] = deque()  # (URL, links between it and a listed page)
        self.requested = 0
        self.summary = Summary()

    def run(self, urls: Iterable[str], progress: Callable[[int, int], None] = lambda done, known: None) -> Summary:
        """Fetch `urls` and what they lead to; return the counts. Ctrl-C ends it after what is written."""
        for url in urls:
            self.scope.add(_host_of(url))
            self._enqueue(url, 0)
        try:
            if self.cfg.sitemap:
                for url in [url for url, _ in self.waiting]:
                    self._read_sitemaps(url)
            while self.waiting and self.requested < self.cfg.max_pages:
                url, depth = self.waiting[0]
                self._visit(url, depth)
                self.waiting.popleft()
                progress(self.summary.found, self.summary.found + len(self.waiting))
        except KeyboardInterrupt:
            self.summary.interrupted = True
        for url, _ in self.waiting:
            why = "interrupted" if self.summary.interrupted else "--max-pages"
            self.summary.outcomes.setdefault(url, (LEFT, why))
        return self.summary

    def _enqueue(self, url: str, depth: int) -> None:
        if url not in self.seen:
            self.seen.add(url)
            self.waiting.append((url, depth))

    def _visit(self, url: str, depth: int) -> None:
        outcome = KEPT
        page = url
        try:
            for _ in range(MOST_REDIRECTS + 1):
                if page not in self.archive.stored:
                    self._fetch(page)
                    outcome = FETCHED
                status, headers, body = self.archive.read(page)
                if status not in REDIRECTS:
                    break
                page = normal_url(headers.get("location", ""), page)
            else:
                raise Refused("too many redirects", f"more than {MOST_REDIRECTS}")
        except Refused as refused:
            self.summary.outcomes[url] = (refused.reason, refused.detail)
            return
        self.summary.outcomes[url] = (outcome, "")
        self.seen.add(page)
        if depth == 0:
            self.scope.add(_host_of(page))
        if depth < self.cfg.depth and headers.get("content-type", "").partition(";")[0].strip().lower() in MARKUP:
            for link in links_of(page, body):
                if _host_of(link) in self.scope:
                    self._enqueue(link, depth + 1)

    def _fetch(self, url: str) -> None:
        """Ask for a page and write the answer. Raises `Refused` where it is not asked for, or not kept."""
        host = self._host(url)
        assert host.robots
        if not host.robots.can_fetch(PRODUCT, url):
            raise Refused("robots.txt forbids it")
        if self.requested >= self.cfg.max_pages:
            raise Refused(LEFT, "--max-pages")
        self.requested += 1
        answer = self._ask(url, host, PAGES)
        if answer.status != 200 and answer.status not in REDIRECTS:
            raise Refused(f"status {answer.status}", answer.reason)
        self.archive.add(answer)

    def _ask(self, url: str, host: _Host, kinds: frozenset[str] | None = None) -> Answer:
        """Ask once the host may be asked again."""
        wait = host.ready - time.monotonic()
        if wait > 0:
            self.sleep(wait)
        try:
            return get(url, self.limits, kinds)
        finally:
            host.ready = time.monotonic() + self._delay(host)

    def _delay(self, host: _Host) -> float:
        wished = host.robots.crawl_delay(PRODUCT) if host.robots else None
        return max(self.cfg.delay, min(LONGEST_DELAY, float(wished or 0)))

    def _host(self, url: str) -> _Host:
        """Return what is known of a URL's host; its robots.txt is read at first."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        host = self.hosts.setdefault(place, _Host())
        if host.robots is None:
            host.robots = self._robots(f"{place}/robots.txt", host)
        return host

    def _robots(self, url: str, host: _Host) -> RobotFileParser:
        """Return the rules of a robots.txt: all is allowed where there is none, nothing where it cannot be had (RFC 9309)."""
        rules = RobotFileParser(url)
        lines = ["User-agent: *", "Disallow: /"]
        try:
            answer = self._follow(url, host)
        except Refused as refused:
            if refused.reason in ("private address", "unknown host"):
                raise
        else:
            if answer.status == 200:
                lines = answer.body[:ROBOTS_BYTES].decode("utf-8", "replace").splitlines()
            elif answer.status < 500:
                lines = []
        rules.parse(lines)
        return rules

    def _follow(self, url: str, host: _Host) -> Answer:
        """Return the answer behind redirects, which lie on any host that may be asked."""
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._ask(url, host)
            if answer.status not in REDIRECTS:
                return answer
            url = normal_url(answer.header("location"), url)
        raise Refused("too many redirects")

    def _read_sitemaps(self, url: str) -> None:
        """Add the pages of the sitemaps of a URL's host: those that robots.txt names, else /sitemap.xml."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        if f"{place} sitemap" in self.seen:
            return
        self.seen.add(f"{place} sitemap")
        try:
            host = self._host(url)
        except Refused:
            return
        assert host.robots
        maps = deque(host.robots.site_maps() or [f"{place}/sitemap.xml"])
        for _ in range(MOST_SITEMAPS):
            if not maps:
                break
            try:
                sitemap = normal_url(maps.popleft(), place)
                answer = self._follow(sitemap, host) if host.robots.can_fetch(PRODUCT, sitemap) else None
            except Refused:
                continue
            if answer is None or answer.status != 200:
                continue
            pages, further = sitemap_entries(sitemap, answer.body, self.limits.max_bytes)
            maps.extend(further)
            for page in pages:
                if _host_of(page) == _host_of(url):
                    self._enqueue(page, 0)


def _host_of(url: str) -> str:
    return urlsplit(url).netloc


def fetch(
    cfg: FetchConfig, urls: list[str], into: Path, progress: Callable[[int, int], None] = lambda done, known: None
) -> Summary:
    """Fetch `urls` into the archive `into`; return the counts. Raises UserError for a file that cannot be one."""
    if not into.name.endswith(SUFFIX):
        raise UserError(f"{into} is no name for a web archive: end it with {SUFFIX}, such as data/sources/web{SUFFIX}.")
    archive = Archive(into, cfg.agent)
    try:
        return Crawl(cfg, archive).run(urls, progress)
    finally:
        archive.close()
