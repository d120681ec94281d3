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
    failures = []
    for outcome in results:
        if outcome.failed_critical:
            failures.append(f'"{outcome.check.name}": {outcome.observed}{in_brackets(outcome.which)}.')
    if failures:
        raise UserError(
            f"feedback failed its validation. {' '.join(failures)} "
            "Remove these lines from data/feedback and run `dvc repro feedback` again."
        )
    warnings = [f"{outcome.check.name}: {outcome.observed}" for outcome in results if not outcome.passed]
    return {"expectations": len(results), "warnings": len(warnings), "warnings_of": warnings}


def _frame_without_texts(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows with counts of left-over personal data in place of their texts."""
    texts = pa.array([row["text"] for row in rows], pa.string())
    frame = pd.DataFrame(rows).drop(columns="text")
    for kind, counts in leftovers_of_column(texts).items():
        frame[kind] = counts.to_pylist()
    return frame


def in_brackets(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names)})" if names else ""


def record_checks() -> list[Check]:
    """Return the expectations of every record."""
    digest = {"column": "id", "regex": r"^[0-9a-f]{32}\Z"}
    kinds = {"column": "kind", "value_set": ["Rating", "Vote"]}
    pseudonym = {"column": "rater", "regex": r"^[0-9a-f]{16}\Z"}
    sides = {"column": "side", "value_set": ["training", "held out"]}
    weights = {"column": "weight", "min_value": 0, "max_value": 1}
    checks = [
        Check("No two records share an id", "critical", "unique", {"column": "id"}),
        Check("Every id is 32 hexadecimal digits", "critical", "regex", digest),
        Check("Every record is a rating or a vote", "critical", "in set", kinds),
        Check("Every person is a pseudonym", "critical", "regex", pseudonym),
        Check("Every record is on one side", "critical", "in set", sides),
        Check("Every weight is between 0 and 1", "critical", "between", weights),
    ]
    for kind, what in LEFTOVERS.items():
        none_left = {"column": kind, "max_value": 0}
        checks.append(Check(f"No record still holds {what}", "critical", "between", none_left))
    return checks


def total_checks(limits: Mapping[str, float]) -> list[Check]:
    """Return the expectations of the totals."""
    max_quarantined, min_alpha, max_voice = (limits[key] for key in ("max_quarantined", "min_agreement", "max_voice"))
    lines = {"column_A": "lines", "column_B": "accounted"}
    on_both_sides = {"column": "on_both_sides", "max_value": 0}
    quarantined = {"column": "quarantined", "max_value": max_quarantined}
    thumbs = {"column": "agreement_thumbs", "min_value": min_alpha}
    votes = {"column": "agreement_votes", "min_value": min_alpha}
    voice = {"column": "voice", "max_value": max_voice}
    few_quarantined = f"At most {max_quarantined:.0%} of the lines are quarantined"
    agreement_on_thumbs = f"People agree on thumbs: alpha of at least {min_alpha:g}"
    agreement_on_votes = f"People agree on votes: alpha of at least {min_alpha:g}"
    small_voices = f"Nobody has over {max_voice:.0%} of all weight"
    return [
        Check("Every line is kept or quarantined", "critical", "equal", lines),
        Check("No prompt lies on both sides", "critical", "between", on_both_sides),
        Check(few_quarantined, "warning", "between", quarantined, "max_quarantined"),
        Check(agreement_on_thumbs, "warning", "between", thumbs, "min_agreement"),
        Check(agreement_on_votes, "warning", "between", votes, "min_agreement"),
        Check(small_voices, "warning", "between", voice, "max_voice"),
    ]
