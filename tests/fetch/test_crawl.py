"""fetch: on a server of this machine, what is asked for, how often, and what the archive then holds."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.engine.fingerprint import closure
from privllm.engine.pipeline import declared_stages
from privllm.fetch.crawl import FETCHED, KEPT, LEFT, Crawl, FetchConfig, Summary, fetch, read_urls
from privllm.fetch.warc import Archive
from tests.workshop import ROOT

PAGE = "<html><body><p>{}</p>{}</body></html>"


class Site:
    """A server, what it serves, and what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[float, str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((time.monotonic(), self.path, dict(self.headers)))
                status, headers, body = site.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(
        self, path: str, text: str = "text", links: tuple[str, ...] = (), status: int = 200, **headers: str
    ) -> None:
        markup = "".join(f'<a href="{link}">x</a>' for link in links)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (status, named, PAGE.format(text, markup).encode())

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def run(site: Site, into: Path, *paths: str, **settings: Any) -> Summary:
    cfg = FetchConfig(**{"delay": 0.1, "allow_private": True, **settings})
    archive = Archive(into, cfg.agent)
    try:
        summary = Crawl(cfg, archive, sleep=lambda _: None).run([site.url + path for path in paths])
    finally:
        archive.close()
    assert sum(summary.counts.values()) == summary.found
    return summary


def stored(into: Path) -> set[str]:
    archive = Archive(into, "test")
    archive.close()
    return {re.sub(r"^http://[^/]*", "", url) for url in archive.stored}


def test_listed_pages_are_fetched_and_robots_are_asked_first(site: Site, tmp_path: Path) -> None:
    site.page("/a")
    site.page("/private/b")
    site.pages["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /private/\n")
    summary = run(site, tmp_path / "w.warc.gz", "/a", "/private/b", "/gone", contact="mailto:me@corp.example")
    assert summary.counts == {FETCHED: 1, "robots.txt forbids it": 1, "status 404": 1}
    assert site.paths() == ["/robots.txt", "/a", "/gone"]
    assert {headers["User-Agent"] for *_, headers in site.asked} == {"privllm-fetch (+mailto:me@corp.example)"}
    assert stored(tmp_path / "w.warc.gz") == {"/a"}


@pytest.mark.parametrize(("status", "asked"), [(404, True), (403, True), (500, False), (503, False)])
def test_a_robots_txt_that_cannot_be_had_forbids_all(site: Site, tmp_path: Path, status: int, asked: bool) -> None:
    site.page("/a")
    site.pages["/robots.txt"] = (status, {}, b"")
    run(site, tmp_path / "w.warc.gz", "/a")
    assert ("/a" in site.paths()) is asked


def test_links_are_followed_to_a_depth_and_on_their_host(site: Site, tmp_path: Path) -> None:
    other = site.url.replace("127.0.0.1", "localhost")
    site.page("/a", links=("b", "/b#part", f"{other}/else", "mailto:x@y.example", "ftp://127.0.0.1/z"))
    site.page("/b", links=("/c", "/a"))
    site.page("/c", links=("/d",))
    assert run(site, tmp_path / "w.warc.gz", "/a", depth=2).counts == {FETCHED: 3}
    assert sorted(site.paths()) == ["/a", "/b", "/c", "/robots.txt"]


def test_a_page_that_asks_not_to_follow_is_heard(site: Site, tmp_path: Path) -> None:
    site.pages["/a"] = (200, {}, b'<meta name=robots content="noindex, nofollow"><a href="/b">b</a>')
    site.pages["/c"] = (200, {}, b'<a rel="nofollow" href="/b">b</a>')
    assert run(site, tmp_path / "w.warc.gz", "/a", "/c", depth=3).counts == {FETCHED: 2}


def test_sitemaps_are_read(site: Site, tmp_path: Path) -> None:
    site.pages["/robots.txt"] = (200, {}, f"Sitemap: {site.url}/index.xml".encode())
    site.pages["/index.xml"] = (
        200,
        {},
        f"<sitemapindex><sitemap><loc>{site.url}/map.xml</loc></sitemap></sitemapindex>".encode(),
    )
    urls = [f"{site.url}/one", f"{site.url}/two?a=1&amp;b=2", "http://elsewhere.example/x"]
    site.pages["/map.xml"] = (
        200,
        {},
        f"<urlset>{''.join(f'<url><loc>{url}</loc></url>' for url in urls)}</urlset>".encode(),
    )
    for path in ("/a", "/one", "/two?a=1&b=2"):
        site.page(path)
    assert run(site, tmp_path / "w.warc.gz", "/a", sitemap=True).counts == {FETCHED: 3}
    assert stored(tmp_path / "w.warc.gz") == {"/a", "/one", "/two?a=1&b=2"}


def test_redirects_are_followed_within_bounds_and_kept(site: Site, tmp_path: Path) -> None:
    site.page("/a", status=301, Location="/b")
    site.page("/b")
    site.page("/round", status=302, Location="/round")
    site.page("/odd", status=302, Location="file:///etc/passwd")
    site.pages["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /secret\n")
    site.page("/to-secret", status=302, Location="/secret")
    summary = run(site, tmp_path / "w.warc.gz", "/a", "/round", "/odd", "/to-secret")
    assert summary.counts == {FETCHED: 1, "too many redirects": 1, "not http or https": 1, "robots.txt forbids it": 1}
    assert {"/a", "/b"} <= stored(tmp_path / "w.warc.gz")
    assert "/secret" not in site.paths()


def test_private_addresses_are_not_asked_even_by_a_redirect(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.page("/a")
    assert run(site, tmp_path / "w.warc.gz", "/a", allow_private=False).counts == {"private address": 1}
    assert site.asked == []
    from privllm.fetch import web_request

    port = site.url.rpartition(":")[2]
    site.page("/start", status=302, Location=f"http://inner.example:{port}/a")
    look_up = {"outer.example": "127.0.0.1", "inner.example": "127.0.0.2"}
    monkeypatch.setattr(
        web_request.socket, "getaddrinfo", lambda host, port, *_, **__: [(2, 1, 6, "", (look_up.get(host, host), port))]
    )
    monkeypatch.setattr(web_request, "is_public", lambda address: address == "127.0.0.1")
    archive = Archive(tmp_path / "v.warc.gz", "test")
    summary = Crawl(FetchConfig(delay=0.1), archive, lambda _: None).run([f"http://outer.example:{port}/start"])
    archive.close()
    assert summary.counts == {"private address": 1}
    assert "/a" not in site.paths()


def test_limits_of_size_kind_and_number(site: Site, tmp_path: Path) -> None:
    site.page("/large", text="x" * 30_000)
    site.page("/picture", Content_Type="image/png")
    for path in ("/a", "/b", "/c"):
        site.page(path)
    summary = run(site, tmp_path / "w.warc.gz", "/large", "/picture", "/a", "/b", "/c", max_megabytes=0.02, max_pages=4)
    assert summary.counts == {"too large": 1, "another kind of file": 1, FETCHED: 2, LEFT: 1}
    assert stored(tmp_path / "w.warc.gz") == {"/a", "/b"}


def test_a_second_run_goes_on(site: Site, tmp_path: Path) -> None:
    site.page("/a", links=("/b", "/old"))
    site.page("/old", status=301, Location="/c")
    for path in ("/b", "/c"):
        site.page(path)
    into = tmp_path / "w.warc.gz"
    assert run(site, into, "/a", depth=1, max_pages=2).counts == {FETCHED: 2, LEFT: 1}
    before = into.read_bytes()
    site.asked.clear()
    assert run(site, into, "/a", depth=1).counts == {KEPT: 2, FETCHED: 1}
    assert site.paths() == ["/robots.txt", "/old", "/c"]
    assert into.read_bytes().startswith(before)
    site.asked.clear()
    assert run(site, into, "/a", depth=1).counts == {KEPT: 3}
    assert site.asked == []


@pytest.mark.parametrize("robots", ["", "User-agent: *\nCrawl-delay: 0.4\nCrawl-delay: 1\n"])
def test_a_host_is_given_time(site: Site, tmp_path: Path, robots: str) -> None:
    """A delay of a robots.txt that is longer counts, up to a minute."""
    site.pages["/robots.txt"] = (200, {}, robots.encode())
    waits: list[float] = []
    for path in ("/a", "/b", "/c"):
        site.page(path)
    cfg = FetchConfig(delay=0.5, allow_private=True)
    archive = Archive(tmp_path / "w.warc.gz", cfg.agent)
    Crawl(cfg, archive, waits.append).run([f"{site.url}{path}" for path in ("/a", "/b", "/c")])
    archive.close()
    assert len(waits) == 3
    assert all(0.3 < wait <= (1.0 if robots else 0.5) for wait in waits)
    assert not robots or max(waits) > 0.5


def test_lists_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text("# ours\nHTTP://Corp.Example:80/a b#part\n\nhttp://corp.example/a%20b\nhttps://bücher.example\n")
    assert read_urls(file) == ["http://corp.example/a%20b", "https://xn--bcher-kva.example/"]
    for text, fault in (
        ("a\nhttp://x.example\n", "line 1"),
        ("#\n", "holds no address"),
        ("http://u:p@x.example", "password"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=fault):
            read_urls(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_urls(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "settings", [{"depth": -1}, {"delay": 0}, {"max_pages": 0}, {"max_megabytes": 0}, {"contact": "a\r\nX: y"}]
)
def test_bad_settings_are_explained(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(settings)).replace('_', '-')}"):
        FetchConfig(**settings)


def test_another_name_than_an_archives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it with \.warc\.gz"):
        fetch(FetchConfig(), ["http://x.example/"], tmp_path / "web.txt")


def test_the_command_says_what_became_of_all(site: Site, tmp_path: Path) -> None:
    site.page("/a")
    (tmp_path / "urls.txt").write_text(f"{site.url}/a\n{site.url}/b\n")
    words = ["fetch", f"{tmp_path}/urls.txt", "--into", f"{tmp_path}/w.warc.gz", "--delay", "0.1", "--allow-private"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert said.output.splitlines()[0] == "2 addresses: 1 fetched, 0 in the archive already"
    assert f"1  status 404, such as {site.url}/b (Not Found)" in said.output


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_what_was_fetched_is_there_however_it_ends(site: Site, tmp_path: Path, sent: int, code: int) -> None:
    for number in range(50):
        site.page(f"/{number}")
    (tmp_path / "urls.txt").write_text("".join(f"{site.url}/{number}\n" for number in range(50)))
    into = tmp_path / "w.warc.gz"
    words = ["fetch", "urls.txt", "--into", into.name, "--delay", "0.2", "--allow-private"]
    process = subprocess.Popen(
        [sys.executable, "-m", "privllm.cli", *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    begun = time.monotonic()
    while len(site.asked) < 5 and time.monotonic() - begun < 60:
        time.sleep(0.05)
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    done = stored(into)
    assert len(done) >= 3
    if sent == signal.SIGINT:
        assert f"50 addresses: {len(done)} fetched" in out
        assert "Run the same command again" in err
    site.asked.clear()
    summary = run(site, into, *[f"/{number}" for number in range(50)])
    assert summary.counts == {KEPT: len(done), FETCHED: 50 - len(done)}


def test_no_stage_can_fetch() -> None:
    for stage in {name.partition("@")[0] for name in declared_stages(ROOT)}:
        assert not [name for name in closure(ROOT, f"stages.{stage}")[0] if name.startswith("privllm.fetch")]
