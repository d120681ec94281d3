"""Lines at the ends of pages that a site repeats on many of them: menus, breadcrumbs, notices.

`clean` sees one page at a time and keeps what looks like content there. A line that opens or closes a quarter of a site's
pages is none. Only runs at a page's two ends are removed, so what a manual says again and again between its own words
(`Description`, `Status: Extension`) stays, and so does a heading right above the page's own text.

    lines at the ends of pages, by shard       l_s         a function of the shard
    those on many pages of their site          R           sums over all shards
    trimmed pages, by shard                                a function of the shard and R within l_s

So an edit costs its own shard, and others only where a line becomes repeated, or no longer is. Lines are compared by 64-bit
hashes. Other documents than pages are never touched, and neither are pages that share most of their text, such as
contracts of one form.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from privllm.core.records import CLEAN, whole_source
from privllm.core.report import add_up
from privllm.core.seed import name_digest
from privllm.core.tables import read_table, write_table
from privllm.engine.dropped import COLUMNS, write_list
from privllm.engine.store import NO_STORE, Store

PAGE = "text/html"
MIN_PAGES = 10  # of a site on which a line must stand
MIN_SHARE = 0.25  # of the site's pages
END = 40  # lines of a page that are its beginning, and as many its end
MAX_LINE = 200  # characters; a longer one is a paragraph
MAX_REMOVED = (
    0.4  # of a page's characters; where more is repeated the pages are versions of one document, and stay whole
)
LIST = "repeated_lines.txt"
FENCE = "```"
COUNTED = np.dtype([("line", "<u8"), ("site", "<u8"), ("pages", "<u4")])
IsRepeated = Callable[[str], bool]


def site_of(source: str) -> str:
    """Return the site of a page: its host in an archive of the web, else its uppermost folder or file."""
    source = whole_source(source)
    container, _, inside = source.partition("#")
    if inside.startswith(("http://", "https://")):
        return urlsplit(inside).netloc
    return container.partition("/")[0] if "/" in container or inside else ""


def remove_repeated_lines(sources: list[Path], out: Path, store: Store = NO_STORE) -> tuple[list[Path], dict[str, int]]:
    """Write the CLEAN shards of `sources` in which lines are removed into `out`; return all shards, and counts.

    `out / LIST` names each line that was removed, with its site and the number of pages.
    """
    counted = out / "counted"
    pages_of_site = add_up(
        store.map(count_lines, [(path,) for path in sources], counted, "repeated lines", borrow=True)
    )
    repeated = _repeated([np.fromfile(counted / f"{path.stem}.bin", COUNTED) for path in sources], pages_of_site)
    jobs = []
    for path in sources:
        own = np.fromfile(counted / f"{path.stem}.bin", COUNTED)["line"]
        own_repeated = np.intersect1d(own, repeated)
        if len(own_repeated):
            jobs.append((path, tuple(own_repeated.tolist())))
    trimmed = out / "trimmed"
    removed = store.map(trim_shard, jobs, trimmed, "repeated lines", borrow=True)
    replaced = {}
    for (path, _), value in zip(jobs, removed, strict=True):
        if value["pages"]:
            replaced[path] = trimmed / path.name
    _write_removed(removed, out / LIST)
    counts = {"pages": sum(value["pages"] for value in removed)}
    counts["lines"] = sum(number for value in removed for number in value["removed"].values())
    return [replaced.get(path, path) for path in sources], counts


def count_lines(out: Path, shard: Path) -> dict[str, int]:
    """Write COUNTED of a shard: of each site's line on how many pages it stands at an end; return pages by site."""
    pages: Counter[str] = Counter()
    lines: Counter[tuple[str, str]] = Counter()
    documents = read_table(shard, ["source", "media_type", "text"]).to_pydict()
    for source, media_type, text in zip(*documents.values(), strict=True):
        if media_type != PAGE:
            continue
        site = site_of(source)
        pages[site] += 1
        lines.update({(site, line) for line in _lines_at_ends(text)})
    hash_of_site = {site: _hash(site) for site in pages}
    rows = [(line_hash(site, line), hash_of_site[site], number) for (site, line), number in lines.items()]
    np.sort(np.array(rows, COUNTED)).tofile(out / f"{shard.stem}.bin")
    return dict(pages)


def line_hash(site: str, line: str) -> int:
    return _hash(f"{site}\n{line}")


def _hash(text: str) -> int:
    return int(name_digest(text)[:16], 16)


def _lines_at_ends(text: str) -> set[str]:
    lines = text.split("\n")
    return {*islice(_lines_with_words(lines), END), *islice(_lines_with_words(reversed(lines)), END)}


def _lines_with_words(lines: Iterable[str]) -> Iterator[str]:
    """Yield, stripped, the lines that have words and are not too long to be repeated."""
    for whole_line in lines:
        line = whole_line.strip()
        if says_something(line):
            yield line


def says_something(line: str) -> bool:
    """Return whether a line has words, and not too many to be repeated."""
    return len(line) <= MAX_LINE and any(map(str.isalnum, line))


def _repeated(counted: list[np.ndarray], pages_of_site: dict[str, int]) -> np.ndarray:
    """Return the hashes of the lines on many pages of their site, sorted."""
    rows = np.concatenate([np.zeros(0, COUNTED), *counted])
    rows = rows[np.argsort(rows["line"], kind="stable")]
    lines, begins = np.unique(rows["line"], return_index=True)
    pages = np.add.reduceat(rows["pages"].astype(np.int64), begins) if len(lines) else np.zeros(0, np.int64)
    limits = {_hash(site): max(MIN_PAGES, MIN_SHARE * number) for site, number in pages_of_site.items()}
    candidates = np.flatnonzero(pages >= MIN_PAGES)  # few
    sites = rows["site"][begins[candidates]].tolist()
    is_repeated = [number >= limits[site] for number, site in zip(pages[candidates].tolist(), sites, strict=True)]
    return lines[candidates[np.array(is_repeated, bool)]]


def trim_shard(out: Path, shard: Path, repeated: tuple[int, ...]) -> dict[str, Any]:
    """Write a shard without the repeated lines at the ends of its pages; nothing where there are none.

    Returns {"pages": how many were trimmed, "removed": {"site\\tline": on how many of them}}.
    """
    pages = read_table(shard, ["source", "media_type", "text"])
    hashes = frozenset(repeated)
    texts = pages["text"].to_pylist()
    removed: Counter[str] = Counter()
    trimmed_pages = 0
    kinds, sources = pages["media_type"].to_pylist(), pages["source"].to_pylist()
    for index, (kind, source) in enumerate(zip(kinds, sources, strict=True)):
        if kind != PAGE:
            continue
        site = site_of(source)
        text, removed_lines = trim(texts[index], partial(_is_among, hashes, site))
        if removed_lines:
            texts[index] = text
            trimmed_pages += 1
            removed.update({f"{site}\t{line}" for line in removed_lines})
    if trimmed_pages:
        table = read_table(shard)
        place = table.schema.get_field_index("text")
        write_table(table.set_column(place, "text", pa.array(texts, pa.string())).cast(CLEAN), out / shard.name)
    return {"pages": trimmed_pages, "removed": dict(sorted(removed.items()))}


def _is_among(hashes: frozenset[int], site: str, line: str) -> bool:
    return line_hash(site, line) in hashes


def trim(text: str, is_repeated: IsRepeated) -> tuple[str, list[str]]:
    """Return a text without the repeated lines at its ends, and those lines; one that is mostly repeated stays whole."""
    lines = text.split("\n")
    begin = _run(lines, is_repeated)
    while begin and begin < len(lines) and lines[begin].startswith("|") and not says_something(lines[begin]):
        begin += 1  # the rule below a table's first row
    while begin and (not lines[begin - 1].strip() or lines[begin - 1].startswith("#")):
        begin -= 1  # the heading of what follows
    end = len(lines) - _run(lines[::-1], is_repeated)
    if end <= begin:
        return text, []
    removed = [line.strip() for line in [*lines[:begin], *lines[end:]] if says_something(line)]
    if not removed or sum(map(len, removed)) > MAX_REMOVED * len(text):
        return text, []
    return "\n".join(lines[begin:end]).strip("\n"), removed


def _run(lines: Iterable[str], is_repeated: IsRepeated) -> int:
    """Return how many lines the repeated ones at the beginning take, with blank lines and rules of tables between them."""
    taken = seen = 0
    for number, whole_line in enumerate(lines, start=1):
        line = whole_line.strip()
        if line.startswith(FENCE) or seen == END:
            break
        if not any(map(str.isalnum, line)):
            continue
        if not says_something(line) or not is_repeated(line):
            break
        seen += 1
        taken = number
    return taken


def _write_removed(removed: list[dict[str, Any]], path: Path) -> None:
    """Write the list of removed lines, each with its site and its number of pages."""
    totals: Counter[str] = Counter()
    for value in removed:
        totals.update(value["removed"])
    rows = []
    for key, number in totals.items():
        site, _, line = key.partition("\t")
        rows.append({"reason": f"on {number} pages", "source": site, "detail": line})
    write_list(pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in COLUMNS])), path)
