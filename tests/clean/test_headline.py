"""The headline: which heading the title names, and where blocks stand to it."""

from resiliparse.parse.html import HTMLTree

from privllm.clean.headline import ORDERS, find_headline, names_of, standings
from privllm.clean.page_blocks import Page, read_blocks
from privllm.clean.page_tree import Tree

SENTENCE = "The council agreed on the plan, but the harbour will stay closed until the engineers have seen it. "
PAGE = (
    f"<h1>The Gazette</h1><div id=a><h2>Council agrees on harbour plan</h2><p>{SENTENCE * 3}</p></div>"
    f"<div id=b><h2>Other news</h2><p>{SENTENCE}</p></div>"
)


def page_of(markup: str, title: str = "") -> Page:
    body = HTMLTree.parse(markup).body
    assert body is not None
    page = read_blocks(body.html)
    page.title = title
    return page


def test_the_heading_that_the_title_names_is_the_headline() -> None:
    page = page_of(PAGE, "Council agrees on harbour plan | The Gazette")
    assert find_headline(page) == (1, True)


def test_without_a_title_the_first_h1_is() -> None:
    assert find_headline(page_of(PAGE)) == (0, False)
    assert find_headline(page_of(PAGE, "Something else entirely")) == (0, False)


def test_a_page_without_headings_has_none() -> None:
    page = page_of(f"<p>{SENTENCE}</p>", "Council")
    assert find_headline(page) == (-1, False)
    assert [ORDERS[order] for order in standings(page, Tree(page)).order] == ["none"]


def test_blocks_stand_before_and_after_within_and_outside() -> None:
    page = page_of(PAGE, "Council agrees on harbour plan")
    found = standings(page, Tree(page))
    assert [ORDERS[order] for order in found.order] == ["before", "is", "after", "after", "after"]
    assert found.is_within.tolist() == [False, True, True, False, False]
    assert found.is_title
    assert found.steps[3] > found.steps[2]


def test_names_say_where_a_block_stands() -> None:
    names = set(names_of("article", "after", True, False, 2, 3))
    assert names == {
        "headline after title True",
        "headline after outside 2",
        "headline above 3",
        "article page headline after outside",
    }
