"""The difference of two texts loses nothing, and names what placeholders stand for."""

import random
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from privllm.manage.word_diff import Replaced, Segment, part_of, replaced, without_ends, word_diff

TEXTS = st.lists(st.sampled_from(["one", "two", "three", "<EMAIL>", "<b>", "&amp;", "&", "\n", "a.b", "ü"])).map(
    " ".join
)


def squeezed(text: str) -> str:
    return "".join(text.split()).replace("&amp;", "&")


@given(TEXTS, TEXTS)
def test_both_texts_can_be_made_of_the_segments(before: str, after: str) -> None:
    segments = word_diff(before, after)
    assert "".join(segment.text for segment in segments if segment.kind != "gone") == after
    assert squeezed("".join(part.text for part in segments if part.kind != "new")) == squeezed(before)
    assert all(one.kind != other.kind for one, other in pairwise(segments))


@given(TEXTS)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    assert word_diff(text, text) == ([Segment("same", text)] if text else [])


def test_what_is_changed_is_told_word_by_word() -> None:
    assert word_diff("the quick brown fox", "the slow  brown fox") == [
        Segment("same", "the "),
        Segment("gone", "quick"),
        Segment("new", "slow"),
        Segment("same", "  brown fox"),
    ]


def test_markup_is_gone_and_its_text_stays() -> None:
    segments = word_diff("<p>Salt &amp; pepper</p><script>var a;</script>", "Salt & pepper")
    assert [segment for segment in segments if segment.kind == "same"] == [Segment("same", "Salt & pepper")]
    assert {segment.text for segment in segments if segment.kind == "gone"} == {"<p>", "</p><script>var a;</script>"}


def test_placeholders_are_told_with_what_they_stand_for() -> None:
    before = "Write to bob@corp.example or call +49 171 2345678 today."
    after = "Write to <EMAIL> or call <PHONE> today."
    assert replaced(word_diff(before, after)) == [
        Replaced("bob@corp.example", "<EMAIL>"),
        Replaced("+49 171 2345678", "<PHONE>"),
    ]


def test_the_ends_of_a_part_are_left_out() -> None:
    segments = word_diff("one two three four five", "three")
    assert without_ends(segments) == [Segment("same", "three")]
    assert without_ends(word_diff("one", "")) == []


def test_long_texts_are_compared_in_seconds() -> None:
    """The standard library alone takes half a minute for these."""
    chooser = random.Random(1)
    words = [f"w{int(chooser.paretovariate(0.6))}" for _ in range(60_000)]
    kept = [word for word in words if chooser.random() > 0.02]
    begun = time.process_time()
    segments = word_diff(" ".join(words), " ".join(kept))
    assert time.process_time() - begun < 10
    assert sum(len(segment.text) for segment in segments if segment.kind == "gone") < 0.04 * len(" ".join(words))


def test_a_section_is_compared_with_its_own_part() -> None:
    words = [f"word{number}" for number in range(400)]
    text = " ".join(words)
    section = " ".join(words[100:200]).replace("word150", "<EMAIL>")
    assert part_of(text, section) == " ".join(words[100:200])
    assert part_of(text, "nothing of it") == text
