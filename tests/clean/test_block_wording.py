"""Wording of blocks: which groups of words are there, how long the block is, and its other signs."""

import pytest

from privllm.clean.block_wording import LOOKED_AT, MEDIUM, SHORT, names_of, wording


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
    assert set(names_of(wording(text))) == names


def test_a_part_of_a_word_is_none() -> None:
    assert not set(names_of(wording("Shareholders subscribers")))


def test_size_and_place_count() -> None:
    assert "says call 1" in names_of(wording("subscribe " + "x" * SHORT))
    assert "says call 2" in names_of(wording("subscribe " + "x" * MEDIUM))
    assert not set(names_of(wording("x" * LOOKED_AT + " subscribe")))
