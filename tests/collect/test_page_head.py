"""What a page says of itself, in the ways of the web."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.page_head import MAX_LENGTH, about_page

PAGE = """<!doctype html><html><head><title>Pumps &amp;
 valves | House</title>
<meta name="author" content="Ada Lovelace"><meta property='og:title' content='Pumps &amp; valves'>
<meta property=article:published_time content=2024-03-05T10:00:00Z></head><body><h1>Pumps</h1></body></html>"""


@pytest.mark.parametrize(
    ("markup", "told"),
    [
        (PAGE, ("Pumps & valves", "Ada Lovelace", "2024-03-05")),
        ("<title>Only this</title>", ("Only this", "", "")),
        ("<TITLE lang=en>One\n two</TITLE><META CONTENT='B. Co' NAME='Author'>", ("One two", "B. Co", "")),
        ('<meta name="dc.date" content="2020/01/31"><p>x', ("", "", "2020-01-31")),
        ('<meta property="article:author" content="https://example.org/ada">', ("", "", "")),
        ('<script type="application/ld+json">{"datePublished": "2019-07-01T00:00"}</script>', ("", "", "2019-07-01")),
        ("<p>Written on <time class=x datetime='2018-12-24'>Christmas</time>", ("", "", "2018-12-24")),
        ('<meta name="date" content="next week">', ("", "", "")),
        (
            "<meta name=citation_author content='Ada L.'><meta name=citation_author content='Mary S.'>"
            "<meta name=citation_author content='Ada L.'><meta name=citation_author content='https://x.org'>",
            ("", "Ada L., Mary S.", ""),
        ),
        ("<p>No head at all", ("", "", "")),
        ("", ("", "", "")),
        (f"<title>{'long ' * 500}", ("long " * 500, "", "")),
    ],
)
def test_title_author_and_day(markup: str, told: tuple[str, str, str]) -> None:
    title, author, day = told
    assert about_page(markup) == (" ".join(title.split())[:MAX_LENGTH], author, day)


@given(st.text(alphabet="<>metaintl='\"/ \nx", max_size=300))
def test_any_markup_is_searched(markup: str) -> None:
    assert len(about_page(markup)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["<meta ", "<title ", "<time datetime=", "<meta name='", 'content="', "<meta a=b "])
def test_no_markup_is_costly(piece: str) -> None:
    begin = time.process_time()
    about_page(piece * 100_000)
    assert time.process_time() - begin < 10
