import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.feedback.raters import RaterConfig, agreement, judged_item, judgement_of, limit, weigh
from privllm.feedback.reading import RefusedLine
from privllm.feedback.records import Message
from tests.feedback.said import rating, through, vote

CFG = RaterConfig(max_per_rater=30, max_per_prompt=5)


def test_the_latest_word_of_a_person_on_a_thing_counts() -> None:
    said = through(
        vote("a", "q", "left", 1, time=1),
        vote("a", "q", "left", 2, time=3, left="two", right="one"),  # the sides swapped: another mind
        vote("a", "q", "right", 3, time=2),
        rating("a", "q", "up", number=1, time=1),
        rating("a", "q", "up", number=2, time=2),
        rating("a", "q", "up", "better", number=3, time=3),
    )
    kept, refused = limit(CFG, said)
    assert sorted(one.line.source for one in kept) == ["f#2", "f#6"]
    assert sorted((one.line.source, one.reason) for one in refused) == [
        *(("f#1", "replaced"), ("f#3", "duplicate"), ("f#4", "replaced"), ("f#5", "replaced"))
    ]


def test_a_vote_means_the_same_whichever_side_it_was_on() -> None:
    one, other = through(vote("a", "q", "left"), vote("b", "q", "right", left="two", right="one"))
    assert judgement_of(one) == judgement_of(other) == "first"
    assert agreement([one, other]) == {"thumbs": None, "votes": None}


def test_one_line_ten_thousand_times_is_heard_once_and_hardly() -> None:
    said = through(*(vote("flood", "q", "left", i) for i in range(300)), vote("eva", "q", "right"))
    kept, refused = limit(CFG, said)
    people = {one.said: one for one in weigh(CFG, said, kept).values()}
    assert len(kept) == 2
    assert {one.reason for one in refused} == {"duplicate"}
    assert people[300].named[0] == "flood"
    assert people[300].weight < 0.01
    assert people[1].weight > 0.3


def test_many_different_lines_are_cut_at_the_caps() -> None:
    on_one = through(*(vote("a", "q", "left", i, left=f"reply {i}") for i in range(50)))
    over = through(*(vote("b", f"q{i}", "left") for i in range(50)))
    kept, refused = limit(CFG, [*on_one, *over])
    assert sum(one.rater == on_one[0].rater for one in kept) == 5
    assert sum(one.rater == over[0].rater for one in kept) == 30
    assert {one.reason for one in refused} == {"flood"}
    assert {one.named for one in weigh(CFG, [*on_one, *over], kept).values()} == {("flood",)}


def test_who_votes_at_random_is_down_weighted_and_named() -> None:
    rng = random.Random(3)
    prompts = [f"q{i}" for i in range(25)]
    said = through(*(vote(who, q, "left" if i % 2 else "right") for who in "abc" for i, q in enumerate(prompts)))
    noise = through(*(vote("r", q, rng.choice(["left", "right"])) for q in prompts))
    kept, _ = limit(CFG, [*said, *noise])
    people = weigh(CFG, [*said, *noise], kept)
    assert people[noise[0].rater].named == ("disagrees",)
    assert people[noise[0].rater].weight < 0.25
    assert all(people[one.rater].reliability > 0.75 and not people[one.rater].named for one in said)
    assert {people[one.rater].weight for one in said} == {0.5}  # as of people whom nobody can be compared with


@given(
    st.lists(
        st.builds(
            vote,
            st.sampled_from("abc"),
            st.sampled_from("xyz"),
            st.sampled_from(["left", "right", "tie", "both_bad"]),
            st.integers(0, 4),
            st.sampled_from(["one", "three"]),
            time=st.integers(0, 3),
        ),
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_order_decides_nothing_and_nobody_is_lost(votes: list, rng: random.Random) -> None:
    cfg = RaterConfig(max_per_rater=6, max_per_prompt=3)
    said = through(*votes)
    kept, refused = limit(cfg, said)
    assert sorted(one.line.source for one in [*kept, *refused]) == sorted(one.line.source for one in said)
    shuffled = said.copy()
    rng.shuffle(shuffled)
    again, refused_again = limit(cfg, shuffled)
    assert again == kept
    assert sorted(refused_again) == sorted(refused)
    assert weigh(cfg, shuffled, again) == weigh(cfg, said, kept)


def flooded(found: list[RefusedLine]) -> list[str]:
    return [one.detail for one in found if one.reason == "flood"]


@pytest.mark.parametrize(("said", "over"), [(19, 0), (20, 0), (21, 1), (40, 20)])
def test_one_person_has_twenty_words_on_one_prompt(said: int, over: int) -> None:
    on_one = through(
        *(vote("a", "q", "left", i, left=f"reply {i}") for i in range(said)),
        *(rating("a", "r", "up"), rating("b", "q", "up")),
    )
    kept, refused = limit(RaterConfig(), on_one)
    assert flooded(refused) == ["more than 20 of one person on one prompt"] * over
    assert len(kept) == said + 2 - over
    own = weigh(RaterConfig(), on_one, kept)[on_one[0].rater]
    assert (own.said, own.kept, own.named) == (said + 1, said + 1 - over, ("flood",) if over else ())
    assert own.weight == pytest.approx(0.5 * (said + 1 - over) / (said + 1), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("said", "over"), [(1_999, 0), (2_000, 0), (2_001, 1)])
def test_one_person_has_two_thousand_words_in_all(said: int, over: int) -> None:
    one, other = through(rating("a", "q", "up"), rating("b", "q", "up"))
    many = [
        one._replace(key=f"{i:032x}", opening=f"{i:032x}", record=replace(one.record, reply=f"{i}"))
        for i in range(said)
    ]
    kept, refused = limit(RaterConfig(), [*many, other])
    assert flooded(refused) == ["more than 2,000 of one person in all"] * over
    assert len(kept) == said + 1 - over
    assert weigh(RaterConfig(), [*many, other], kept)[one.rater].named == (("flood",) if over else ())


def test_the_defaults_of_caps_and_priors() -> None:
    assert vars(RaterConfig()) == {
        **{
            "max_per_rater": 2_000,
            "max_per_prompt": 20,
            "prior_agreement": 0.5,
            "prior_units": 5.0,
            "named_below": 0.25,
        }
    }


@pytest.mark.parametrize(
    ("knob", "good", "bad"),
    [
        ("max_per_rater", (1,), (0, -1)),
        ("max_per_prompt", (1,), (0, -1)),
        ("prior_agreement", (0.0, 1.0), (-0.01, 1.01, math.nan)),
        ("prior_units", (0.01,), (0.0, -1.0, math.nan)),
        ("named_below", (0.0, 1.0), (-0.01, 1.01, math.nan)),
    ],
)
def test_knobs_have_ends(knob: str, good: tuple[float, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        assert getattr(RaterConfig(**{knob: value}), knob) == value
    for value in bad:
        with pytest.raises(UserError, match=rf"feedback\.raters\.{knob}"):
            RaterConfig(**{knob: value})


def test_which_words_a_cap_keeps_is_no_persons_choice() -> None:
    """Neither time nor order decides: of many the same remain whenever and wherever they were said."""
    said = through(*(vote("a", "q", "left", i, left=f"reply {i}", time=i % 60) for i in range(50)))
    kept = {one.key for one in limit(CFG, said)[0]}
    later = through(*(vote("a", "q", "left", i, left=f"reply {i}", time=59 - i % 60) for i in reversed(range(50))))
    assert {one.key for one in limit(CFG, later)[0]} == kept
    assert len(kept) == 5


def test_a_later_edition_counts_whatever_its_time_says() -> None:
    one, other = through(replace(rating("a", "q", "up", time=1), edition=2), rating("a", "q", "down", time=9))
    assert limit(CFG, [one, other])[0] == limit(CFG, [other, one])[0] == [one]


def test_of_equally_old_words_the_line_decides() -> None:
    one, other = through(rating("a", "q", "up"), rating("a", "q", "down"))
    assert limit(CFG, [one, other])[0] == limit(CFG, [other, one])[0] == [other]


@pytest.mark.parametrize(
    ("choice", "left", "right", "value"),
    [
        *(
            ("left", "a", "b", "first"),
            ("right", "a", "b", "second"),
            ("left", "b", "a", "second"),
            ("right", "b", "a", "first"),
        ),
        *(("tie", "a", "b", "tie"), ("both_bad", "b", "a", "both_bad")),
    ],
)
def test_what_a_vote_says_of_the_reply_that_sorts_first(choice: str, left: str, right: str, value: str) -> None:
    (one,) = through(vote("x", "q", choice, left=left, right=right))  # type: ignore[arg-type]
    assert judgement_of(one) == value


def test_a_reply_is_another_thing_after_other_turns_and_a_vote_another_than_a_rating() -> None:
    one, longer, voted = through(
        rating("a", "q", "up"),
        replace(
            rating("a", "q", "up"), messages=(Message("user", "q"), Message("assistant", "x"), Message("user", "q"))
        ),
        vote("a", "q", "left", left="no", right="no more"),
    )
    assert len({judged_item(one), judged_item(longer), judged_item(voted)}) == 3


def test_alpha_is_of_votes_and_of_thumbs_each_by_themselves() -> None:
    agreed = [rating(who, f"q{i}", "up" if i % 2 else "down") for who in "ab" for i in range(6)]
    opposed = [vote(who, f"q{i}", "left" if (i % 2) == (who == "a") else "right") for who in "ab" for i in range(6)]
    found = agreement(through(*agreed, *opposed))
    assert found == {"thumbs": 1.0, "votes": -0.8333}


def test_who_is_named_agrees_less_than_was_said_and_shares_something() -> None:
    said = through(
        vote("a", "q", "left"),
        vote("b", "q", "right"),
        vote("a", "r", "left"),
        vote("b", "r", "left"),
        vote("c", "s", "left"),
    )
    a, c = said[0].rater, said[4].rater
    before = weigh(RaterConfig(), said, said)
    assert (before[a].shared, before[c].shared, before[c].reliability) == (2, 0, 0.5)
    for below, named in ((before[a].reliability - 1e-3, ()), (before[a].reliability + 1e-3, ("disagrees",))):
        assert weigh(RaterConfig(named_below=below), said, said)[a].named == named
    assert weigh(RaterConfig(named_below=1.0), said, said)[c].named == ()
    assert weigh(RaterConfig(prior_agreement=0.125), said, said)[c].weight == 0.125


def test_figures_of_a_person_are_rounded() -> None:
    said = through(*(rating("a", "q", "up", number=i, reply=str(i)) for i in range(3)))
    (own,) = weigh(RaterConfig(max_per_prompt=2, prior_agreement=0.123456), said, said[:2]).values()
    assert (own.reliability, own.weight) == (0.1235, 0.082304)
