"""The tree of a page: its sums against obvious ones, its spine, and what landmarks and classes say."""

import random

import pytest

from privllm.clean.page_blocks import Page
from privllm.clean.page_tree import LANDMARK, WORD, Tree
from tests.clean.test_main_content import SENTENCE, page_of
from tests.clean.test_page_blocks import random_page


def ancestors(page: Page, element: int) -> list[int]:
    """Return the element and all that it stands in."""
    chain = []
    while element >= 0:
        chain.append(element)
        element = page.elements.parents[element]
    return chain


@pytest.mark.parametrize("seed", range(10))
def test_sums_of_the_tree_are_those_of_its_blocks(seed: int) -> None:
    page = page_of(random_page(random.Random(seed)) + f"<div><p>{SENTENCE}</p><div><p>{SENTENCE}</p></div></div>")
    tree = Tree(page)
    for element in range(len(page.elements)):
        places = [place for place, block in enumerate(page.blocks) if element in ancestors(page, block.element)]
        below = [page.blocks[place] for place in places]
        assert tree.characters[element] == sum(len(block.text) for block in below)
        assert tree.link_characters[element] == sum(block.link_characters for block in below)
        assert tree.blocks[element] == len(below)
        assert tree.prose[element] == sum(len(page.blocks[place].text) for place in places if tree.is_prose[place])


def test_spine_leads_to_where_most_prose_stands() -> None:
    page = page_of(f"<div><p>{SENTENCE}</p></div><main><div id=x>{f'<p>{SENTENCE}</p>' * 4}</div><div>no</div></main>")
    steps = dict(zip(page.elements.tags, Tree(page).above_spine.tolist(), strict=True))
    assert steps["main"] == 1
    assert steps['div id="x"'] == 0
    assert [Tree(page).above_spine[block.element] for block in page.blocks] == [2, 0, 0, 0, 0, 1]


def test_landmarks_are_those_around_and_words_those_near() -> None:
    page = page_of("<main><header><div class=byline><p><b>By us</b></p></div></header></main><header>Top</header>")
    tree = Tree(page)
    within, above = (block.element for block in page.blocks)
    assert tree.around[within] == LANDMARK["main"] | LANDMARK["within header"]
    assert tree.around[above] == LANDMARK["header"]
    assert tree.near[within] & WORD["word meta"]
    assert not tree.near[above]


def test_words_of_the_great_grandparent_are_far() -> None:
    page = page_of("<div class=comment><div><div><p>Nice</p></div></div></div>")
    tree = Tree(page)
    assert not tree.near[page.blocks[0].element]
    assert tree.all_words[page.blocks[0].element] == WORD["word comment"]


@pytest.mark.parametrize("hidden", ["hidden", 'style="display:none"', "aria-hidden=true"])
def test_what_is_hidden_is_no_prose(hidden: str) -> None:
    text = SENTENCE * 2
    assert Tree(page_of(f"<p>{text}</p>")).is_prose.tolist() == [True]
    assert Tree(page_of(f"<div {hidden}><p>{text}</p></div>")).is_prose.tolist() == [False]
