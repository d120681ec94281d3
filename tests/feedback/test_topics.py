import math
import random
from dataclasses import replace

import numpy as np
import pytest

from privllm.feedback.raters import Rater, RaterConfig, limit, weigh
from privllm.feedback.recipe import FeedbackConfig
from privllm.feedback.records import Message, Rating
from privllm.feedback.topics import MIN_CONVERSATIONS, difference, topics_of, weak_topics, wilson, words_of
from tests.feedback.said import put, rating, run, through, vote

VERBS = "open close clean paint weigh store move test".split()


def found(*records) -> list[dict]:
    kept, _ = limit(RaterConfig(), through(*records))
    return weak_topics(kept, weigh(RaterConfig(), kept, kept))


def asked(thing: str, number: int, thumb: str, rater: str = "a", correction: str = "") -> Rating:
    return rating(rater, f"How do I {VERBS[number % 8]} the {thing}, case {number}? Ask <EMAIL>.", thumb, correction)


def test_the_topic_that_is_answered_badly_is_named() -> None:
    said = [
        asked(thing, i, "down" if thing == "valve" or i % 5 == 0 else "up")
        for i in range(20)
        for thing in ("valve", "pump", "pipe")
    ]
    (spot,) = found(*said)
    assert (spot["kind"], spot["slice"], spot["conversations"], spot["judgements"], spot["bad"]) == (
        "feedback",
        "valve",
        20,
        20,
        1.0,
    )
    assert spot["excess"] == pytest.approx(0.8)
    assert 0 < spot["interval"][0] < 0.8 < spot["interval"][1]


def test_a_correction_is_a_bad_judgement_and_a_vote_is_none() -> None:
    said = [
        asked(thing, i, "", correction="So." if thing == "valve" else "") for i in range(20) for thing in ("valve",)
    ]
    said += [asked("pump", i, "up") for i in range(20)]
    votes = [vote("b", f"Which pipe is number {i}?", "both_bad") for i in range(20)]
    assert [spot["slice"] for spot in found(*said, *votes)] == ["valve"]


def test_no_topic_is_named_where_nothing_is_worse() -> None:
    """Eight words and three things: a test of 5 % each would name one in every other corpus."""
    alarms = 0
    for seed in range(40):
        chance = random.Random(seed)
        said = [
            asked(thing, i, chance.choice(["up", "down"])) for i in range(24) for thing in ("valve", "pump", "pipe")
        ]
        alarms += bool(found(*said))
    assert alarms <= 2


def test_few_conversations_are_no_topic_however_often_they_are_judged() -> None:
    good = [asked("pump", i, "up") for i in range(30)]
    bad = [asked("valve", i, "down", rater) for i in range(MIN_CONVERSATIONS - 1) for rater in "abcdef"]
    assert found(*good, *bad) == []


def test_words_that_come_together_are_one_topic_and_placeholders_none() -> None:
    said = [rating("a", f"Rotary gauge <PHONE> {VERBS[i % 8]} {i}", "down") for i in range(12)]
    said += [rating("a", f"The pump <PHONE> {VERBS[i % 8]} {i}", "up") for i in range(20)]
    assert [spot["slice"] for spot in found(*said)] == ["gauge, rotary"]


def test_a_person_who_counts_nothing_says_nothing() -> None:
    said = through(
        *[asked("valve", i, "down", "m") for i in range(20)], *[asked("pump", i, "up", "a") for i in range(20)]
    )
    weights = {one.rater: Rater(one.rater, 1, 0, 0, 1.0, float(one.record.rater == "a"), ()) for one in said}
    assert weak_topics(said, weights) == []


def test_the_interval_is_newcombes() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 873-890, table II, method 10: 56/70 and 48/80, 9/10 and 3/10, 10/10 and 0/10."""
    for a, m, b, n, low, high in (
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 10, 0.6075, 1.0),
    ):
        assert difference(a / m, m, b / n, n, 0.05) == pytest.approx((low, high), abs=6e-5)


def test_wilson_solves_its_equation() -> None:
    for share, count in ((0.0, 7), (0.3, 20), (1.0, 6)):
        for end in wilson(share, count, 0.01):
            assert (share - end) ** 2 == pytest.approx(2.5758293**2 * end * (1 - end) / count, abs=1e-9)
    assert math.isclose(wilson(0.5, 1e9, 0.05)[1], 0.5, abs_tol=1e-4)


def test_the_report_has_them_and_nobody_no_topics(tmp_path) -> None:
    put(
        tmp_path / "in/a.jsonl",
        *[asked(thing, i, "down" if thing == "valve" else "up") for i in range(20) for thing in ("valve", "pump")],
    )
    report, _ = run(tmp_path / "in", tmp_path / "out", FeedbackConfig())
    assert [spot["slice"] for spot in report["weak_spots"]] == ["valve"]
    (tmp_path / "none").mkdir()
    assert run(tmp_path / "none", tmp_path / "out")[0]["weak_spots"] == []


@pytest.mark.parametrize(("conversations", "named"), [(5, []), (6, ["valve"])])
def test_a_topic_needs_six_conversations(conversations: int, named: list[str]) -> None:
    said = [rating("a", f"valve {i}", "down") for i in range(conversations)] + [
        rating("a", f"pump {i}", "up") for i in range(40)
    ]
    assert [spot["slice"] for spot in found(*said)] == named


@pytest.mark.parametrize(("rest", "named"), [(5, []), (6, ["valve"])])
def test_so_does_the_rest(rest: int, named: list[str]) -> None:
    weights = np.array([1.0] * 6 + [1.0] * rest + [0.0] * 10)  # who counts for nothing makes no rest
    assert list(topics_of({"valve": set(range(6))}, weights)) == named


def test_a_word_in_more_than_half_of_all_conversations_is_no_topic() -> None:
    assert list(topics_of({"half": set(range(10)), "more": set(range(11))}, np.ones(20))) == ["half"]


def test_at_most_ten_topics_are_named_the_worst_first() -> None:
    said = [
        rating("a", f"topic{chr(97 + k)} {i}", "down" if i < 24 - k else "up") for k in range(12) for i in range(24)
    ]
    said += [rating("a", f"pump {i}", "up") for i in range(400)]
    spots = found(*said)
    assert [spot["slice"] for spot in spots] == [f"topic{chr(97 + k)}" for k in range(10)]
    assert [spot["excess"] for spot in spots] == sorted((spot["excess"] for spot in spots), reverse=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ab abc ABC", {"abc"}),
        ("x" * 30, {"x" * 30}),
        ("a1bc d_ef", set()),
        ("naïve Straße", {"naïve", "strasse"}),
        ("<EMAIL> mail", {"mail"}),
    ],
)
def test_words_have_three_letters_at_least(text: str, words: set[str]) -> None:
    assert words_of(rating("a", text, "up")) == words


def test_only_what_people_asked_is_read() -> None:
    turns = Message("system", "kindly"), Message("user", "valve"), Message("assistant", "pump"), Message("user", "pipe")
    assert words_of(replace(rating("a", "x", "up"), messages=turns)) == {"valve", "pipe"}


def test_a_spot_counts_conversations_by_weight_and_judgements_by_number() -> None:
    said = [asked("valve", i, "down", who) for i in range(10) for who in "ab"] + [
        asked("pump", i, "up") for i in range(30)
    ]
    (spot,) = found(*said)
    assert (spot["conversations"], spot["judgements"], spot["bad"], spot["excess"]) == (10, 20, 1.0, 1.0)
