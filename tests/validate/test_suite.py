"""Great Expectations' side: its verdicts equal an obvious implementation's, and a mistake of ours is not a verdict."""

import math

import pandas as pd
import pytest

from privllm.validate.drift import MEASURES
from privllm.validate.expectations import LEFTOVERS, Check, ValidateConfig, expectations
from privllm.validate.suite import LISTED, judge, outcomes

VALUES = [0, 1, 5, 5, 9, 12]
NAMES = ["", "a", "ab", "ab", "abc", "ff"]
FRAME = pd.DataFrame(
    {"source": [f"{row}.txt" for row in range(6)], "id": NAMES, "n": VALUES, "share": [value / 10 for value in VALUES]}
)
OBVIOUS = [
    (Check("least", "critical", "between", {"column": "n", "min_value": 1}), [value < 1 for value in VALUES]),
    (Check("most", "critical", "between", {"column": "share", "max_value": 0.5}), [value > 5 for value in VALUES]),
    (
        Check("set", "critical", "in set", {"column": "id", "value_set": ["a", "ab"]}),
        [name not in ("a", "ab") for name in NAMES],
    ),
    (Check("length", "critical", "length", {"column": "id", "min_value": 1}), [not name for name in NAMES]),
    (
        Check("regex", "critical", "regex", {"column": "id", "regex": r"^[ab]+\Z"}),
        [name.strip("ab") != "" or not name for name in NAMES],
    ),
    (Check("unique", "critical", "unique", {"column": "id"}), [NAMES.count(name) > 1 for name in NAMES]),
]


def test_verdicts_and_failing_rows_are_the_obvious_ones() -> None:
    checks = {"documents": [check for check, _ in OBVIOUS]}
    tables = {"documents": FRAME.astype({"share": "float32"})}
    results = outcomes(judge(tables, checks), checks, tables)
    assert [outcome.check.name for outcome in results] == [check.name for check, _ in OBVIOUS]
    for outcome, (_, fails) in zip(results, OBVIOUS, strict=True):
        assert outcome.observed == f"{sum(fails)} of 6 documents"
        assert outcome.which == tuple(f"{row}.txt ({NAMES[row]})" for row in range(6) if fails[row])[:LISTED]
        assert outcome.failed_critical is any(fails)


def test_mostly_allows_its_share() -> None:
    checks = {
        "documents": [
            Check(str(share), "warning", "between", {"column": "n", "min_value": 1, "mostly": share})
            for share in (0.8, 0.9)
        ]
    }
    results = outcomes(judge({"documents": FRAME}, checks), checks, {"documents": FRAME})
    assert [outcome.passed for outcome in results] == [True, False]
    assert not any(outcome.failed_critical for outcome in results)


# Column, a value that is just allowed, one just beyond, and what is said of two of twenty documents.
LIMITS = [
    ("characters", 5_000_000, 5_000_001, "95% of the documents have at most 5,000,000 characters"),
    ("placeholder_density", 0.2, 0.2001, "95% of the documents have at most 0.2 placeholders per word"),
    ("unique_words", 0.1, 0.0999, "95% of the documents have at least 10% different words among the first 1,000"),
    ("language_score", 0.3, 0.2999, "95% of the documents have a language score of at least 0.3"),
]


def test_limits_of_single_documents_at_their_edges() -> None:
    """One of twenty may be beyond, two may not; a score that is not known, of a text too short to tell, is none of them."""
    sound = {
        "characters": 900,
        "placeholder_density": 0.0,
        "unique_words": 0.9,
        "language_score": 0.9,
        **dict.fromkeys(LEFTOVERS, 0),
    }
    rows = [{"id": f"{i:032x}", "source": f"{i}.txt"} | sound for i in range(20)]
    checks = {"documents": expectations(ValidateConfig(), "", {})["documents"]}

    def failed(number: int, value_of: int) -> list[str]:
        changed = {name: limits[value_of] for name, *limits in LIMITS}
        tables = {"documents": pd.DataFrame([row | changed if i < number else row for i, row in enumerate(rows)])}
        return [
            f"{outcome.check.name}: {outcome.observed}"
            for outcome in outcomes(judge(tables, checks), checks, tables)
            if not outcome.passed
        ]

    assert failed(20, 0) == []
    assert failed(1, 1) == []
    assert failed(2, 1) == [f"{name}: 2 of 20 documents" for *_, name in LIMITS]
    for row in rows[:5]:
        row["language_score"] = math.nan
    assert failed(0, 0) == []


def test_limits_of_the_whole_corpus_at_their_edges() -> None:
    drifts = [f"drift_{name}" for name in MEASURES]
    figures = ("survival_rate", "language_share", "placeholder_density", "copied_share", *drifts)
    allowed = dict(zip(figures, (0.2, 0.5, 0.1, 0.3, *[0.1] * len(MEASURES)), strict=True))
    beyond = dict(zip(figures, (0.1999, 0.4999, 0.1001, 0.3001, *[0.2501] * len(MEASURES)), strict=True))
    counts = {"collected": 4, "entered_clean": 4, "kept": 3, "documents": 3}
    checks = {"totals": expectations(ValidateConfig(), "", {})["totals"]}
    for row, failing in ((allowed, set()), (beyond, {check.name for check in checks["totals"][2:]})):
        tables = {"totals": pd.DataFrame([counts | row])}
        assert {
            outcome.check.name for outcome in outcomes(judge(tables, checks), checks, tables) if not outcome.passed
        } == failing


def test_what_is_not_known_is_not_judged() -> None:
    tables = {"totals": pd.DataFrame([{"drift": math.nan}])}
    checks = {"totals": [Check("drift", "critical", "between", {"column": "drift", "max_value": 0.1})]}
    [outcome] = outcomes(judge(tables, checks), checks, tables)
    assert outcome.passed


def test_an_expectation_that_cannot_run_is_a_mistake_of_ours() -> None:
    checks = {"documents": [Check("typo", "critical", "between", {"column": "nn", "max_value": 0})]}
    with pytest.raises(AssertionError, match="typo"):
        outcomes(judge({"documents": FRAME}, checks), checks, {"documents": FRAME})
