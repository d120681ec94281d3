"""Wording of blocks: which groups of words are there, how long the block is, and its other signs."""

import pytest

from privllm.clean.block_wording import LOOKED_AT, SIGNS, groups_of, names_of_groups, names_of_signs, signs_of


def names_in(text: str) -> set[str]:
    """Return all that a short text says."""
    assert signs_of(text) in SIGNS
    return {*names_of_groups(*groups_of([text]), 0), *names_of_signs(signs_of(text), 0)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Share this on Facebook", {"says share 0"}),
        ("Image copyright Getty Images", {"says credit 0"}),
        ("READ MORE: THE PLAN", {"says related 0", "capitals"}),
        ("It goes on ...", {"dots 0"}),
        ("Tags:", {"colon"}),
        ("Home | News", {"bar"}),
        ("The council agreed on a plan.", set()),
        ("12 : 30", set()),
        ("議会は計画に合意した", set()),
    ],
)
def test_names_say_what_is_there(text: str, names: set[str]) -> None:
    assert names_in(text) == names


def test_a_part_of_a_word_is_none() -> None:
    assert groups_of(["Shareholders subscribers"]) == [0]


def test_only_the_beginning_is_looked_at() -> None:
    assert groups_of(["x" * LOOKED_AT + " subscribe"]) == [0]


def test_each_text_has_its_own_groups() -> None:
    calls, shares = groups_of(["Subscribe\nnow", "", "Share İ"])[::2]
    assert list(names_of_groups(calls, 2)) == ["says call 2"]
    assert list(names_of_groups(shares, 1)) == ["says share 1"]
    assert list(names_of_signs("dots ", 1)) == ["dots 1"]
