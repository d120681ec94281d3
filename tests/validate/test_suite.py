"""Great Expectations' side: its verdicts equal an obvious implementation's, and a mistake of ours is not a verdict."""

import math

import pandas as pd
import pytest

from privllm.validate.expectations import Check
from privllm.validate.suite import LISTED, judge, outcomes

VALUES = [0, 1, 5, 5, 9, 12]
NAMES = ["", "a", "ab", "ab", "abc", "ff"]
FRAME = pd.DataFrame({"source": [f"{row}.txt" for row in range(6)], "id": NAMES, "n": VALUES, "share": [value / 10 for value in VALUES]})
OBVIOUS = [
    (Check("least", "critical", "between", {"column": "n", "min_value": 1}), [value < 1 for value in VALUES]),
    (Check("most", "critical", "between", {"column": "share", "max_value": 0.5}), [value > 5 for value in VALUES]),
    (Check("set", "critical", "in set", {"column": "id", "value_set": ["a", "ab"]}), [name not in ("a", "ab") for name in NAMES]),
    (Check("length", "critical", "length", {"column": "id", "min_value": 1}), [not name for name in NAMES]),
    (Check("regex", "critical", "regex", {"column": "id", "regex": r"^[ab]+\Z"}), [name.strip("ab") != "" or not name for name in NAMES]),
    (Check("unique", "critical", "unique", {"column": "id"}), [NAMES.count(name) > 1 for name in NAMES]),
]


def test_verdicts_and_failing_rows_are_the_obvious_ones() -> None:
    checks = {"documents": [check for check, _ in OBVIOUS]}
    tables = {"documents": FRAME.astype({"share": "float32"})}
    found = outcomes(judge(tables, checks), checks, tables)
    assert [outcome.check.name for outcome in found] == [check.name for check, _ in OBVIOUS]
    for outcome, (_, fails) in zip(found, OBVIOUS, strict=True):
        assert outcome.observed == f"{sum(fails)} of 6 documents"
        assert outcome.which == tuple(f"{row}.txt ({NAMES[row]})" for row in range(6) if fails[row])[:LISTED]
        assert outcome.failed_critical is any(fails)


def test_mostly_allows_its_share() -> None:
    checks = {
        "documents": [Check(str(share), "warning", "between", {"column": "n", "min_value": 1, "mostly": share}) for share in (0.8, 0.9)]
    }
    found = outcomes(judge({"documents": FRAME}, checks), checks, {"documents": FRAME})
    assert [outcome.passed for outcome in found] == [True, False]
    assert not any(outcome.failed_critical for outcome in found)


def test_what_is_not_known_is_not_judged() -> None:
    tables = {"totals": pd.DataFrame([{"drift": math.nan}])}
    checks = {"totals": [Check("drift", "critical", "between", {"column": "drift", "max_value": 0.1})]}
    [outcome] = outcomes(judge(tables, checks), checks, tables)
    assert outcome.passed


def test_an_expectation_that_cannot_run_is_a_mistake_of_ours() -> None:
    checks = {"documents": [Check("typo", "critical", "between", {"column": "nn", "max_value": 0})]}
    with pytest.raises(AssertionError, match="typo"):
        outcomes(judge({"documents": FRAME}, checks), checks, {"documents": FRAME})
