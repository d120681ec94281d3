import json
from typing import Any

import pytest

from privllm.core.seed import digest
from privllm.feedback.records import Rating, Vote, to_line
from privllm.feedback.wanted import Wanted, pseudonym_of, record_key
from tests.feedback.said import rating, through, vote


def matches(wanted: Wanted, record: Rating | Vote) -> bool:
    line = to_line(record)
    return wanted.selects(json.loads(line), line)


@pytest.mark.parametrize(
    ("wanted", "selected"),
    [
        (Wanted(rater="eva"), [True, False, True]),
        (Wanted(rater=pseudonym_of("eva")), [True, False, True]),
        (Wanted(rater="ev"), [False, False, False]),
        (Wanted(identifier="eva/How do I vent it?/0"), [True, False, False]),
        (Wanted(text="BLEED\n the pump"), [True, False, False]),
        (Wanted(text="two"), [False, False, True]),  # a reply that was voted on
        (Wanted(text="vent"), [True, True, False]),
        (Wanted(text="wind"), [False, False, False]),
    ],
)
def test_records_are_found_by_person_id_and_words(wanted: Wanted, selected: list[bool]) -> None:
    records = [
        rating("eva", "How do I vent it?", correction="Bleed the   pump."),
        rating("ada", "How do I vent it?", "up"),
        vote("eva", "q", "left"),
    ]
    assert [matches(wanted, record) for record in records] == selected


def test_what_is_left_of_a_torn_line_names_its_person() -> None:
    torn = json.dumps({"id": "r1", "rater": "Zoë"}, ensure_ascii=False)[:-1] + ', "messages": [{"ro'
    escaped = json.dumps({"id": "r1", "rater": "Zoë"})[:-1]
    for line in (torn, escaped):
        assert Wanted(rater="Zoë").selects(None, line)
        assert Wanted(identifier="r1").selects(None, line)
        assert not Wanted(rater="Zo").selects(None, line)
        assert not Wanted(rater="r1").selects(None, line)


def test_the_key_is_the_id_that_outputs_have() -> None:
    for record in (rating("eva", "q", "up"), vote("eva", "q", "left")):
        (screened,) = through(record)
        line = to_line(record)
        assert record_key(json.loads(line), line) == screened.key
        assert pseudonym_of("eva") == screened.rater
        assert matches(Wanted(identifier=screened.key), record)


@pytest.mark.parametrize("plain", [None, [], "x", {"rater": 5}, {}])
def test_what_is_no_record_is_found_by_its_words_alone(plain: Any) -> None:
    assert not Wanted(rater="eva").selects(plain, "oops")
    assert not Wanted(identifier="1").selects(plain, "oops")
    assert Wanted(text="oops").selects(None, "an OOPS")
    assert record_key(None, "oops\ud800") == digest(b"oops\xed\xa0\x80")
