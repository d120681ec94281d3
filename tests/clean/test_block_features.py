"""Features of blocks: tables against names one by one, and names against the table of weights."""

import random

import numpy as np
import pytest

from privllm.clean.block_features import LOOKED_AT, facts_of, features, scores
from privllm.clean.main_content_weights import WEIGHTS
from privllm.clean.page_blocks import OWN_KINDS
from privllm.clean.page_kind import KINDS
from privllm.clean.page_tree import LANDMARK_FLAGS, WORD_FLAGS, Tree
from tests.clean.test_main_content import MENU, SENTENCE, page_of
from tests.clean.test_page_blocks import random_page

FLAGS = (*LANDMARK_FLAGS, *WORD_FLAGS)


@pytest.mark.parametrize("seed", range(10))
def test_scores_of_random_pages_are_sums_of_weights(seed: int) -> None:
    generator = random.Random(seed)
    page = page_of(f"{MENU}<h1>w1 x2</h1>{random_page(generator)}<p class=related>{SENTENCE}</p>")
    page.kind = generator.choice(KINDS)
    page.title = generator.choice(["", "w1 x2"])
    tree = Tree(page)
    sums = [WEIGHTS["always"] + sum(WEIGHTS.get(name, 0) for name in names) for names in features(page, tree)]
    assert scores(page, tree) == [total / 100 for total in sums]


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


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("no pause", 0),
        ("one, pause", 1),
        ("3.14", 0),
        ("ends.", 1),
        ("a, b; c! d? e", 3),
        ("a. " * 10, 4),
        ("été, puis", 1),
        ("𝒳 a, b", 1),
        ("議会は、計画に合意した。", 2),
        ("x" * LOOKED_AT + ", after", 0),
    ],
)
def test_pauses_are_counted_in_each_block(text: str, step: int) -> None:
    page = page_of(f"<p>before, and more, and</p><p>{text}</p><p>after</p>")
    assert facts_of(page, Tree(page))["pauses"].tolist() == [2, step, 0]


def test_distances_and_shares_of_prose() -> None:
    page = page_of(f"<div>a</div><div>b</div><p>{SENTENCE}</p><div>c</div><p>{SENTENCE}</p>")
    facts = facts_of(page, Tree(page))
    assert facts["since prose"].tolist() == [6, 6, 0, 1, 0]
    assert facts["until prose"].tolist() == [2, 1, 0, 1, 0]
    assert np.all(np.diff(facts["prose before"]) >= 0)
    assert np.all(np.diff(facts["prose after"]) <= 0)


def test_equal_blocks_in_equal_elements_are_one_template() -> None:
    page = page_of("<div class=c><p class=a>one</p><p class=a>two</p></div><div class=d><p class=a>three</p></div>")
    facts = facts_of(page, Tree(page))
    assert facts["template count"].tolist() == [1, 1, 0]
    assert facts["repeated"].tolist() == [1, 1, 1]
