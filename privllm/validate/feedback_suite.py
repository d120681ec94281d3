"""Expectations of feedback before a model may learn from it: a second suite for `suite`.

It judges two tables: `feedback` (one row per kept rating or vote; of its text only counts) and
`totals` (one row). A critical expectation stops the build, a warning is reported. There are no Data
Docs: the report has all results.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from privllm.core.errors import UserError
from privllm.validate.expectations import LEFTOVERS, Check
from privllm.validate.personal_data_left import leftovers_of_column


def judge_feedback(
    rows: list[dict[str, Any]], totals: Mapping[str, Any], limits: Mapping[str, float]
) -> dict[str, Any]:
    """Return how many expectations there were and which warned.

    `rows` and `totals` are those of `feedback.recipe.table_of` and `totals_of`; a total that is not
    known is NaN. Raises UserError when a critical expectation fails.
    """
    # Imported late: it takes five seconds, and not every build has feedback.
    from privllm.validate.suite import judge, outcomes

    tables = {"feedback": _frame_without_texts(rows), "totals": pd.DataFrame([totals])}
    checks = {"feedback": record_checks(), "totals": total_checks(limits)}
    results = outcomes(judge(tables, checks), checks, tables)
    failed = [outcome for outcome in results if outcome.failed_critical]
    if failed:
        failures = " ".join(
            f'"{outcome.check.name}": {outcome.observed}{in_brackets(outcome.which)}.' for outcome in failed
        )
        raise UserError(
            f"feedback failed its validation. {failures} Remove these lines from data/feedback and run `dvc repro feedback` again.",
        )
    warnings = [f"{outcome.check.name}: {outcome.observed}" for outcome in results if not outcome.passed]
    return {"expectations": len(results), "warnings": len(warnings), "warnings_of": warnings}


def _frame_without_texts(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows with counts of left-over personal data in place of their texts."""
    texts = pa.array([row["text"] for row in rows], pa.string())
    counts = {kind: column.to_pylist() for kind, column in leftovers_of_column(texts).items()}
    return pd.DataFrame(rows).drop(columns="text").assign(**counts)


def in_brackets(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names)})" if names else ""


def record_checks() -> list[Check]:
    """Return the expectations of every record."""
    return [
        Check("No two records share an id", "critical", "unique", {"column": "id"}),
        Check("Every id is 32 hexadecimal digits", "critical", "regex", {"column": "id", "regex": r"^[0-9a-f]{32}\Z"}),
        Check(
            "Every record is a rating or a vote",
            "critical",
            "in set",
            {"column": "kind", "value_set": ["Rating", "Vote"]},
        ),
        Check("Every person is a pseudonym", "critical", "regex", {"column": "rater", "regex": r"^[0-9a-f]{16}\Z"}),
        Check(
            "Every record is on one side",
            "critical",
            "in set",
            {"column": "side", "value_set": ["training", "held out"]},
        ),
        Check(
            "Every weight is between 0 and 1",
            "critical",
            "between",
            {"column": "weight", "min_value": 0, "max_value": 1},
        ),
        *(
            Check(f"No record still holds {what}", "critical", "between", {"column": kind, "max_value": 0})
            for kind, what in LEFTOVERS.items()
        ),
    ]


def total_checks(limits: Mapping[str, float]) -> list[Check]:
    """Return the expectations of the totals."""
    quarantined, alpha, voice = limits["max_quarantined"], limits["min_agreement"], limits["max_voice"]
    share = {"column": "quarantined", "max_value": quarantined}
    thumbs = {"column": "agreement_thumbs", "min_value": alpha}
    votes = {"column": "agreement_votes", "min_value": alpha}
    return [
        Check("Every line is kept or quarantined", "critical", "equal", {"column_A": "lines", "column_B": "accounted"}),
        Check("No prompt lies on both sides", "critical", "between", {"column": "on_both_sides", "max_value": 0}),
        Check(
            f"At most {quarantined:.0%} of the lines are quarantined", "warning", "between", share, "max_quarantined"
        ),
        Check(f"People agree on thumbs: alpha of at least {alpha:g}", "warning", "between", thumbs, "min_agreement"),
        Check(f"People agree on votes: alpha of at least {alpha:g}", "warning", "between", votes, "min_agreement"),
        Check(
            f"Nobody has over {voice:.0%} of all weight",
            "warning",
            "between",
            {"column": "voice", "max_value": voice},
            "max_voice",
        ),
    ]
