"""Repeated lines against the obvious implementation, and whatever was built before; what of a page's ends goes, and what stays."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.core.records import CLEAN, document_id, shard_name, shard_of
from privllm.core.tables import read_table, write_table
from privllm.dedup.repeated_lines import LIST, MIN_PAGES, remove_repeated_lines, site_of, trim
from privllm.engine.cache import Cache
from privllm.engine.store import NO_STORE, Store

BITS = 2
WORDS = "Words of a page, and more of them than a menu has: a page that shares most of its text stays whole."
MENU = ["Home", "Products", "| Prev | Next |", "## On this site"]
Pages = dict[str, str]  # {source: text}


def write_clean(pages: Pages, folder: Path, media_type: str = "text/html") -> list[Path]:
    blank = {"media_type": media_type, "digest": "", "language": "", "language_score": 0.0, "placeholders": 0}
    rows = [{"id": document_id(source), "source": source, "text": text} | blank for source, text in pages.items()]
    rows.sort(key=lambda row: row["id"])
    paths = []
    for shard in range(1 << BITS):
        of_shard = [row for row in rows if shard_of(row["id"], BITS) == shard]
        paths.append(folder / shard_name(shard))
        write_table(pa.Table.from_pylist(of_shard, CLEAN), paths[-1])
    return paths


def trimmed(
    pages: Pages, folder: Path, store: Store = NO_STORE, media_type: str = "text/html"
) -> tuple[Pages, dict, str]:
    """The texts afterwards, the counts, and the list."""
    paths, counts = remove_repeated_lines(write_clean(pages, folder / "clean", media_type), folder / "out", store)
    texts: Pages = {}
    for path in paths:
        table = read_table(path, ["source", "text"]).to_pydict()
        texts |= dict(zip(table["source"], table["text"], strict=True))
    return texts, counts, (folder / "out" / LIST).read_text("utf-8")


def page(number: int, begin: str = "Home\nProducts\n\n", end: str = "\n\nCopyright the house") -> str:
    return f"{begin}# Title {number}\n\n{WORDS} {number}.{end}"


def test_menus_and_notices_go_from_both_ends_and_are_listed(tmp_path: Path) -> None:
    pages = {f"site/{number}.html": page(number) for number in range(20)}
    texts, counts, said = trimmed(pages, tmp_path)
    assert texts == {source: page(number, "", "") for number, source in enumerate(pages)}
    assert counts == {"pages": 20, "lines": 60}
    assert said.splitlines()[1:] == [
        f"on 20 pages\tsite\t{line}" for line in ("Copyright the house", "Home", "Products")
    ]


@pytest.mark.parametrize(("count", "goes"), [(MIN_PAGES - 1, False), (MIN_PAGES, True)])
def test_a_line_must_stand_on_ten_pages(tmp_path: Path, count: int, goes: bool) -> None:
    texts, _, _ = trimmed({f"site/{number}.html": page(number) for number in range(count)}, tmp_path)
    assert (texts["site/0.html"] == page(0, "", "")) is goes


@pytest.mark.parametrize(("others", "goes"), [(45, True), (49, False)])
def test_a_line_must_stand_on_a_quarter_of_its_site(tmp_path: Path, others: int, goes: bool) -> None:
    pages = {f"site/{number}.html": page(number) for number in range(16)}
    pages |= {f"site/other{number}.html": f"Other words {number}." for number in range(others)}
    texts, _, _ = trimmed(pages, tmp_path)
    assert (texts["site/0.html"] == page(0, "", "")) is goes


def test_versions_of_one_document_stay_whole(tmp_path: Path) -> None:
    begin, end = "\n".join(f"Clause {n}." for n in range(20)), "\n".join(f"Signature {n}." for n in range(5))
    pages = {f"site/{number}.html": f"{begin}\nThe sum is {number} euros.\n{end}" for number in range(20)}
    assert trimmed(pages, tmp_path)[:2] == (pages, {"pages": 0, "lines": 0})


def test_sites_do_not_add_up(tmp_path: Path) -> None:
    pages = {f"site{number % 2}/{number}.html": page(number) for number in range(18)}
    assert trimmed(pages, tmp_path)[0] == pages


def test_other_documents_than_pages_stay(tmp_path: Path) -> None:
    pages = {f"site/{number}.txt": page(number) for number in range(20)}
    assert trimmed(pages, tmp_path, media_type="text/plain")[:2] == (pages, {"pages": 0, "lines": 0})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Home\n\n{WORDS}", WORDS),
        (f"{WORDS}\n\nHome\n", WORDS),
        (f"{WORDS}\n\nHome\n\nMore.", f"{WORDS}\n\nHome\n\nMore."),  # between its own words
        (f"Home\n## On this site\n\n{WORDS}", f"## On this site\n\n{WORDS}"),  # the heading of what follows
        (f"{WORDS}\n\n## On this site\n\nHome", WORDS),
        (f"| Prev | Next |\n| --- | --- |\n\n{WORDS}", WORDS),
        (f"{WORDS}\n\n| Prev | Next |\n| --- | --- |", WORDS),
        (f"{WORDS}\n\n```\nHome\n```", f"{WORDS}\n\n```\nHome\n```"),  # code
        ("Home\n\nProducts", "Home\n\nProducts"),  # nothing else
        (f"    {WORDS}\n\nHome", f"    {WORDS}"),
        ("", ""),
    ],
)
def test_what_goes_and_what_stays(text: str, expected: str) -> None:
    assert trim(text, MENU.__contains__)[0] == expected


@pytest.mark.parametrize(
    ("source", "site"),
    [
        ("a.html", ""),
        ("manual/lib/a.html", "manual"),
        ("manual/a.html#s:0123456789abcdef", "manual"),
        ("web.warc.gz#https://docs.corp.example/a/b.html", "docs.corp.example"),
        ("x/web.warc.gz#http://corp.example:81/", "corp.example:81"),
        ("pages.zip#a/b.html", "pages.zip"),
    ],
)
def test_site_of_a_page(source: str, site: str) -> None:
    assert site_of(source) == site


LINES = st.lists(st.sampled_from([*MENU, WORDS, "More words.", "", "---", "```", "Unique"]), max_size=6)


def plain(pages: Pages) -> Pages:
    """Count each line of short pages, and trim by what was counted."""
    counted = Counter((site_of(source), line) for source, text in pages.items() for line in {*text.split("\n")})
    sizes = Counter(site_of(source) for source in pages)
    expected = {}
    for source, text in pages.items():
        site = site_of(source)
        limit = max(MIN_PAGES, sizes[site] / 4)
        expected[source] = trim(text, lambda line, site=site, limit=limit: counted[site, line] >= limit)[0]
    return expected


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.integers(0, 60), LINES, min_size=1, max_size=40), min_size=1, max_size=3))
def test_is_the_plain_count_whatever_was_built_before(builds: list[dict[int, list[str]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, build in enumerate(builds):
            pages = {f"site{key % 2}/{key}.html": "\n".join(lines) for key, lines in build.items()}
            store = Store(Cache(folder / "cache"), "code")
            texts, counts, said = trimmed(pages, folder / f"build{number}", store)
            clean = trimmed(pages, folder / f"clean{number}")
            assert (texts, counts, said) == clean
            assert texts == plain(pages)
