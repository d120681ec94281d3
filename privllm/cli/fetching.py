"""The command `privllm fetch`. It is beside the build: no stage and no other command asks the web for anything."""

from pathlib import Path
from typing import Annotated

import typer

from privllm.cli.error_handling import commands_of
from privllm.core.printable import say
from privllm.core.progress import Lines

INTERRUPTED = 130  # as a shell says of a program that Ctrl-C has ended


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    commands_of(app)(fetch)


def fetch(
    urls: Annotated[Path, typer.Argument(metavar="URLS.txt", help="A file with an address a line.")],
    into: Annotated[Path, typer.Option("--into", metavar="FILE", help="The archive, made or gone on with.")] = Path(
        "data/sources/web.warc.gz"
    ),
    depth: Annotated[int, typer.Option(help="Links to follow from the listed pages, on their hosts.")] = 0,
    sitemap: Annotated[bool, typer.Option("--sitemap", help="Fetch the pages of the hosts' sitemaps too.")] = False,
    delay: Annotated[float, typer.Option(help="Seconds between two requests to a host.")] = 1.0,
    max_pages: Annotated[int, typer.Option(help="Pages to request in this run.")] = 1_000,
    max_megabytes: Annotated[float, typer.Option(help="Of a page; a longer one is left out.")] = 20.0,
    contact: Annotated[str, typer.Option(help="An address or URL of yours, which servers are told.")] = "",
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Ask hosts of private networks and of this machine too.")
    ] = False,
) -> None:
    """Fetch web pages into an archive that the build reads.

    It obeys robots.txt, waits between requests, and says who it is. Run it again to go on where it
    stopped: what the archive holds is not fetched again. The build itself never asks the web.
    """
    from privllm.fetch.crawl import FetchConfig, read_urls
    from privllm.fetch.crawl import fetch as fetch_pages

    lines = Lines(first=2.0)

    def progress(done: int, known: int) -> None:
        if lines.due():
            say(f"fetch: {done:,} of {known:,} addresses known so far, {lines.left(done, known)}", err=True)

    cfg = FetchConfig(depth, sitemap, delay, max_pages, max_megabytes, contact, allow_private)
    summary = fetch_pages(cfg, read_urls(urls), into, progress)
    for line in summary.lines():
        say(line)
    if summary.interrupted:
        say("Interrupted. Run the same command again to go on: what was fetched is written.", err=True)
        raise typer.Exit(INTERRUPTED)
