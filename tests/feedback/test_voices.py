"""One person's share of all weight is bounded; what attackers get, with figures."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.feedback.raters import Rater
from privllm.feedback.recipe import FeedbackConfig
from privllm.feedback.records import Rating, Vote
from privllm.feedback.voices import bound_voices, largest_voice, voice_factors
from tests.feedback.said import put, run, vote


@given(
    st.dictionaries(st.text(max_size=3), st.floats(0, 1e6).filter(lambda voice: not 0 < voice < 1e-6), max_size=12),
    st.floats(0.01, 1),
)
def test_nobody_has_more_than_the_bound(voices: dict[str, float], share: float) -> None:
    factors = voice_factors(voices, share)
    left = {name: voice * factors.get(name, 1) for name, voice in voices.items()}
    total, heard = math.fsum(left.values()), sum(voice > 0 for voice in voices.values())
    if not heard:
        return
    assert all(0 < factor <= 1 for factor in factors.values())
    assert max(left.values()) <= max(share, 1 / heard) * total * (1 + 1e-6)
    assert math.isclose(min(v for v in left.values() if v), min(v for v in voices.values() if v))  # the least is whole
    if max(voices.values()) <= share * math.fsum(voices.values()):
        assert set(factors.values()) == {1.0}  # nothing changes where nobody is too loud


@pytest.mark.parametrize(
    ("voices", "share", "left"),
    [
        ({"a": 79, "b": 11, "c": 10}, 0.5, {"a": 21, "b": 11, "c": 10}),
        ({"a": 900, "b": 1}, 0.5, {"a": 1, "b": 1}),
        ({"a": 900, "b": 1}, 0.1, {"a": 1, "b": 1}),  # two cannot have a tenth each
        ({"a": 900}, 0.5, {"a": 900}),
        ({"a": 900, "b": 800, "c": 100}, 0.4, {"a": 200, "b": 200, "c": 100}),
        ({"a": 900, "b": 0}, 0.5, {"a": 900, "b": 0}),
        ({"a": 900, "b": 1}, 1.0, {"a": 900, "b": 1}),
    ],
)
def test_who_is_too_loud_is_lowered_to_the_bound(voices: dict, share: float, left: dict) -> None:
    factors = voice_factors(voices, share)
    assert {name: voice * factors[name] for name, voice in voices.items()} == pytest.approx(left)


def person(name: str, weight: float) -> Rater:
    return Rater(name, 1, 1, 0, weight, weight, ())


def test_each_side_is_bounded_by_itself() -> None:
    """Who speaks of held-out questions alone would else decide how a model is judged."""
    raters = {name: person(name, 0.5) for name in "ab"}
    kept = {"training": {"a": 10, "b": 100}, "held out": {"a": 30, "b": 10}}
    bounded = bound_voices(raters, kept, 0.5)
    assert (bounded["a"].weight, bounded["a"].held_out_weight) == (0.5, pytest.approx(1 / 6, abs=1e-6))
    assert (bounded["b"].weight, bounded["b"].held_out_weight) == (0.05, 0.5)
    assert bounded["a"].named == bounded["b"].named == ("voice",)
    assert largest_voice(bounded, kept) == 0.5
    assert largest_voice(bound_voices(raters, kept, 1), kept) == pytest.approx(100 / 110, abs=1e-3)


def test_there_is_no_largest_voice_of_one_person_or_of_silence() -> None:
    raters = {name: person(name, 0.5) for name in "ab"}
    assert math.isnan(largest_voice(raters, {"training": {"a": 4}, "held out": {}}))
    silent = {name: person(name, 0.0) for name in "ab"}
    assert math.isnan(largest_voice(silent, {"training": {"a": 4, "b": 4}, "held out": {}}))


def honest(people: int = 10, questions: int = 60) -> list[Rating | Vote]:
    """Return what `people` say, each on questions of their own: nobody can be compared."""
    said: list[Rating | Vote] = []
    for number in range(people):
        said += [vote(f"person {number}", f"how does part {number} of step {q} go?", "left") for q in range(questions)]
    return said


def held_out_share(folder: Path, said: list[Rating | Vote], attack: list[Rating | Vote]) -> tuple[float, float]:
    """Return (share of the attackers of the held-out judgement, and of what is learnt)."""
    put(folder / "in/said.jsonl", *said, *attack)
    _, files = run(folder / "in", folder / "out", FeedbackConfig(held_out=0.3))
    weights: dict[str, dict[bool, float]] = {}
    for name, side in (("held_out", "held out"), ("preferences", "training"), ("sft", "training")):
        for row in files[name]:
            by_attackers = "invented" in row["prompt"][0]["content"]
            sums = weights.setdefault(side, {True: 0.0, False: 0.0})
            sums[by_attackers] += row["weight"]
    return tuple(sums[True] / sum(sums.values()) for sums in (weights["held out"], weights["training"]))  # type: ignore[return-value]


def test_one_person_with_three_thousand_records_has_half_at_most(tmp_path: Path) -> None:
    flood: list[Rating | Vote] = [vote("flood", f"invented {number}", "right") for number in range(3_000)]
    shares = held_out_share(tmp_path, honest(people=4, questions=40), flood)  # 0.88 and 0.90 without the bound
    assert max(shares) == pytest.approx(0.5, abs=0.001)


def test_sixty_invented_names_that_agree_count_no_more_than_others(tmp_path: Path) -> None:
    """They share nothing but each other. Once that earned 0.69 each, where honest people have 0.5."""
    crowd: list[Rating | Vote] = []
    for name in range(60):
        crowd += [vote(f"name {name}", f"invented {q}", "left" if q % 2 else "right") for q in range(3)]
    held_out, _ = held_out_share(tmp_path, honest(people=10, questions=60), crowd)
    _, files = run(tmp_path / "in", tmp_path / "out", FeedbackConfig(held_out=0.3))
    assert {row["weight"] for row in files["raters"]} == {0.5}
    assert max(row["reliability"] for row in files["raters"]) == pytest.approx(0.6875)  # still told
    judged = [("invented" in row["prompt"][0]["content"]) for row in files["held_out"]]
    assert held_out == pytest.approx(sum(judged) / len(judged))  # 0.226, as their number says; once 0.287
