import random

from hypothesis import given
from hypothesis import strategies as st

from privllm.judge.raters import RaterConfig, agreement, limit, value_of, weigh
from tests.judge.said import rating, through, vote

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
    assert value_of(one) == value_of(other) == "first"
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
    assert all(people[one.rater].weight > 0.75 and not people[one.rater].named for one in said)


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
