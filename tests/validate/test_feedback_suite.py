"""The suite over feedback: what passes, what warns, what stops."""

import math
from typing import Any

import pytest

from privllm.core.errors import UserError
from privllm.validate.feedback_suite import judge_feedback

LIMITS = {"max_quarantined": 0.2, "min_agreement": 0.2, "max_voice": 0.5}
TOTALS = {"lines": 2, "accounted": 2, "quarantined": 0.0, "voice": 0.5, "on_both_sides": 0}
TOTALS |= {"agreement_thumbs": math.nan, "agreement_votes": 0.9}


def row(number: int, **other: Any) -> dict[str, Any]:
    plain = {
        "id": f"{number:032x}",
        "source": f"a.jsonl#{number}",
        "kind": "Vote",
        "rater": "0" * 16,
        "side": "training",
        "weight": 0.5,
    }
    return {**plain, "opening": "0" * 32, "text": "the pump <EMAIL>", **other}


def test_good_feedback_passes_and_what_is_not_known_is_not_judged() -> None:
    assert judge_feedback([row(1), row(2)], TOTALS, LIMITS) == {"expectations": 17, "warnings": 0, "warnings_of": []}


def test_weak_agreement_much_quarantine_and_one_loud_voice_are_warned_of() -> None:
    found = judge_feedback([row(1)], {**TOTALS, "agreement_votes": 0.1, "quarantined": 0.3, "voice": 0.6}, LIMITS)
    assert found["warnings"] == 3
    assert "People agree on votes: alpha of at least 0.2: 0.1" in found["warnings_of"]


@pytest.mark.parametrize(
    ("other", "totals", "said"),
    [
        ({"text": "jane@corp.example"}, {}, r"an e-mail address\": 1 of 2 feedback \(a.jsonl#2 \(0"),
        ({"weight": 1.5}, {}, "Every weight"),
        ({"id": f"{1:032x}"}, {}, "share an id"),
        ({"rater": "eva"}, {}, "pseudonym"),
        ({}, {"accounted": 1}, "kept or quarantined"),
        ({}, {"on_both_sides": 1}, "both sides"),
    ],
)
def test_what_would_harm_stops_the_build(other: dict[str, Any], totals: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        judge_feedback([row(1), row(2, **other)], {**TOTALS, **totals}, LIMITS)
