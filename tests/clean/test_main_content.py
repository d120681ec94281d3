"""Which blocks are content: the laws of choosing."""

import random

import numpy as np
import pytest
from resiliparse.parse.html import HTMLTree

from privllm.clean.main_content import choose, threshold
from privllm.clean.page_blocks import Page, read_blocks
from tests.clean.test_page_blocks import random_page

SENTENCE = "The council agreed on the plan, but the harbour will stay closed until the engineers have seen it."
MENU = "<nav><ul><li><a href=/>Home</a></li><li><a href=/a>About us</a></li><li><a href=/c>Contact</a></li></ul></nav>"


def page_of(markup: str) -> Page:
    body = HTMLTree.parse(markup).body
    assert body is not None
    return read_blocks(body.html)


def content_of(markup: str) -> list[str]:
    page = page_of(markup)
    return [block.text for block, is_kept in zip(page.blocks, choose(page), strict=True) if is_kept]


def test_menus_go_and_articles_stay() -> None:
    related = "".join(f"<li><a href=/{n}>Another story, number {n}</a></li>" for n in range(6))
    article = f"<h1>Harbour closed</h1>{f'<p>{SENTENCE}</p>' * 6}"
    page = (
        f"{MENU}<article>{article}</article><div class=related><ul>{related}</ul></div><footer>© Harbour News</footer>"
    )
    assert content_of(page) == ["Harbour closed", *[SENTENCE] * 6]


def test_short_blocks_between_content_are_content_unless_marked() -> None:
    paragraphs = f"<p>{SENTENCE}</p>" * 4
    short = "<h2>Hours</h2><div>Open daily</div>"
    assert "Open daily" in content_of(f"<main>{paragraphs}{short}{paragraphs}</main>")
    assert "Open daily" not in content_of(f"<main>{paragraphs}<div class=newsletter>{short}</div>{paragraphs}</main>")
    assert "Hours" in content_of(f"<main><h2>Hours</h2>{paragraphs}</main>")


def test_a_list_and_a_table_stay_or_go_whole() -> None:
    items = "".join(f"<li><a href={n}.html>Part {n}</a></li>" for n in range(60))
    kept = content_of(f"<body><ul>{items}</ul></body>")
    assert len(kept) in (0, 60)
    rows = "".join(f"<tr><td>{n}<td>{SENTENCE if n % 9 == 0 else n}" for n in range(60))
    assert len(content_of(f"<body><h1>Numbers</h1><table>{rows}</table></body>")) in (1, 61)


def test_a_page_without_certain_content_keeps_its_best() -> None:
    page = page_of(MENU)
    lengths = np.array([len(block.text) for block in page.blocks])
    assert threshold(page, lengths, np.full(len(page.blocks), 0.1)) == pytest.approx(0.07)
    assert choose(Page()) == []


def test_choice_is_the_same_at_every_call() -> None:
    page = random_page(random.Random(5))
    assert content_of(page) == content_of(page)


NAVIGATION_TABLE = (
    '<div class="navheader"><table summary="Navigation header"><tr><th colspan=3>ABORT</th></tr>'
    "<tr><td><a href=/p>Prev</a></td><th>SQL Commands</th><td><a href=/n>Next</a></td></tr></table></div>"
)


@pytest.mark.parametrize("marked", ['class="navheader"', 'summary="Navigation header"'])
def test_tables_that_lead_to_neighbours_go(marked: str) -> None:
    table = NAVIGATION_TABLE.replace('class="navheader"', "").replace('summary="Navigation header"', "")
    table = table.replace("<table", f"<table {marked}")
    assert content_of(f"{table}<h2>ABORT</h2>{f'<p>{SENTENCE}</p>' * 4}") == ["ABORT", *[SENTENCE] * 4]


@pytest.mark.parametrize("synopsis", ["<pre>ABORT [ WORK ]</pre>", "<p>abort [ WORK ]</p>"])
def test_a_synopsis_between_title_and_prose_stays(synopsis: str) -> None:
    opening = f"<h2>ABORT</h2><p>abort it</p><h3>Synopsis</h3>{synopsis}<h3>Description</h3>"
    kept = content_of(f"{NAVIGATION_TABLE}<div>{opening}{f'<p>{SENTENCE}</p>' * 6}</div>")
    assert kept[:5] == [
        "ABORT",
        "abort it",
        "Synopsis",
        synopsis[synopsis.index(">") + 1 : synopsis.rindex("<")],
        "Description",
    ]


def test_what_stands_amid_an_article_of_the_web_must_be_likely() -> None:
    """A page that says nothing of itself, such as a manual, keeps what stands amid its prose."""
    page = page_of(
        f"<h1>Harbour closed</h1>{f'<p>{SENTENCE}</p>' * 3}<figure><figcaption>The quay</figcaption></figure>{f'<p>{SENTENCE}</p>' * 3}"
    )
    caption = next(index for index, block in enumerate(page.blocks) if block.kind == "figcaption")
    assert choose(page)[caption]
    page.kind = "article"
    kept = choose(page)
    assert not kept[caption]
    assert kept[0]


def test_an_article_asks_for_more() -> None:
    page = page_of(f"<p>{SENTENCE}</p>")
    limits = []
    for kind in ("none", "article"):
        page.kind = kind
        limits.append(threshold(page, np.array([len(SENTENCE)]), np.array([0.9])))
    assert limits[0] < limits[1]


@pytest.mark.parametrize(
    "note",
    [
        '<dl class="footnote brackets"><dt><a href="#r1">1</a></dt><dd><p>{0}</p></dd></dl>',
        '<aside class="footnote-list brackets"><aside class="footnote brackets" role="note"><p>{0}</p></aside></aside>',
        '<aside epub:type="footnote" id="n1"><p>{0}</p></aside>',
        '<div class="endnotes"><ol><li role="doc-endnote"><p>{0}</p></li></ol></div>',
    ],
)
def test_footnotes_are_content(note: str) -> None:
    text = f"<main><h1>Harbours</h1>{f'<p>{SENTENCE}</p>' * 4}{{0}}</main>"
    assert "See the plan." in content_of(text.format(note.format("See the plan.")))
    assert "See the plan." not in content_of(text.format(f"<footer>{note.format('See the plan.')}</footer>"))


def test_the_foot_of_a_page_is_no_note() -> None:
    page = (
        f"<main><h1>Harbours</h1>{f'<p>{SENTENCE}</p>' * 4}</main><div class='footer'><p>All rights reserved.</p></div>"
    )
    assert "All rights reserved." not in content_of(page)
