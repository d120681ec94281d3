"""Which blocks are content: the tree's sums against obvious ones, the laws of choosing, and the table of weights."""

import random

import pytest
from resiliparse.parse.html import HTMLTree

from privllm.clean.main_content import FLAGS, Tree, choose, features, scores, threshold
from privllm.clean.main_content_weights import WEIGHTS
from privllm.clean.page_blocks import OWN_KINDS, Page, read_blocks
from privllm.clean.page_kind import KINDS
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


def ancestors(page: Page, element: int) -> list[int]:
    """Return the element and all that it stands in."""
    chain = []
    while element >= 0:
        chain.append(element)
        element = page.elements[element].parent
    return chain


@pytest.mark.parametrize("seed", range(10))
def test_sums_of_the_tree_are_those_of_its_blocks(seed: int) -> None:
    page = page_of(random_page(random.Random(seed)) + f"<div><p>{SENTENCE}</p><div><p>{SENTENCE}</p></div></div>")
    tree = Tree(page)
    for element in range(len(page.elements)):
        below = [block for block in page.blocks if element in ancestors(page, block.element)]
        assert tree.characters[element] == sum(len(block.text) for block in below)
        assert tree.link_characters[element] == sum(block.link_characters for block in below)
        assert tree.blocks[element] == len(below)
        assert tree.prose[element] == sum(len(block.text) for block in below if tree.is_prose(block))


def test_spine_leads_to_where_most_prose_stands() -> None:
    page = page_of(f"<div><p>{SENTENCE}</p></div><main><div id=x>{f'<p>{SENTENCE}</p>' * 4}</div><div>no</div></main>")
    steps = {
        page.elements[index].name + page.elements[index].attributes: step
        for index, step in enumerate(Tree(page).above_spine)
    }
    assert steps["main"] == 1
    assert steps[' div id="x"'.strip()] == 0
    assert [Tree(page).above_spine[block.element] for block in page.blocks] == [2, 0, 0, 0, 0, 1]


def test_score_is_the_sum_of_the_weights_of_what_is_true() -> None:
    page = page_of(MENU + f"<h1>News</h1><p>{SENTENCE}</p>")
    tree = Tree(page)
    for score, names in zip(scores(page, tree), features(page, tree), strict=True):
        assert score == (WEIGHTS["always"] + sum(WEIGHTS.get(name, 0) for name in names)) / 100
        assert len(names) == len(set(names))


def test_weights_name_what_can_be_true() -> None:
    """A name that no feature has would be a weight that nothing uses."""
    table = "<table><tr><td>a<td>b</table>"
    page = page_of(MENU + f"<h1 class=top>News ©</h1><p>{SENTENCE}</p><div>x</div><ul><li>x</li></ul>{table}")
    worded = page_of("<p class='comment related body'>SUBSCRIBE | NOW</p><p>And more ...</p><p>Tags:</p>")
    firsts = set(OWN_KINDS)
    for kind in KINDS:
        for described in (page, worded):
            described.kind = kind
            firsts |= {name.split()[0] for names in features(described, Tree(described)) for name in names}
    for name in WEIGHTS:
        first, _, rest = name.partition(" ")
        assert name == "always" or first in firsts, name
        rest = rest.removeprefix("page ")
        about, _, flag = rest.partition(" ")
        if first in ("in", "near"):
            about, flag = first, rest
        assert about not in ("in", "near") or flag in FLAGS, name


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
    assert threshold(page, [0.1] * len(page.blocks)) == pytest.approx(0.07)
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
        limits.append(threshold(page, [0.9]))
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
