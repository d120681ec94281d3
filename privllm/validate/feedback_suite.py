"""What feedback must be like before a model may learn from it: a second suite for the machinery of `suite`.

It judges two tables: `feedback` (one row per kept rating or vote; of its text only counts) and `totals` (one row). A critical expectation
stops the build, a warning is reported. It writes no Data Docs: the report says all there is.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from privllm.core.errors import UserError
from privllm.validate.expectations import LEFTOVERS, Check
from privllm.validate.personal_data_left import leftovers_of_column


def judge_feedback(rows: list[dict[str, Any]], totals: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, Any]:
    """How many expectations there were and which warned. Raises UserError when a critical one fails.

    `rows` and `totals` as `feedback.recipe.table_of` and `totals_of` make them; a total that is not known is NaN.
    """
    from privllm.validate.suite import judge, outcomes  # late: it takes five seconds, and not every build has feedback

    found = leftovers_of_column(pa.array([row["text"] for row in rows], pa.string()))
    frame = pd.DataFrame([{key: value for key, value in row.items() if key != "text"} for row in rows])
    tables = {"feedback": frame.assign(**{kind: counts.to_pylist() for kind, counts in found.items()}), "totals": pd.DataFrame([totals])}
    checks = {"feedback": record_checks(), "totals": total_checks(limits)}
    seen = outcomes(judge(tables, checks), checks, tables)
    stopped = [outcome for outcome in seen if outcome.failed_critical]
    if stopped:
        each = " ".join(f'"{one.check.name}": {one.observed}{where(one.which)}.' for one in stopped)
        raise UserError(f"feedback failed its validation. {each} Remove these lines from data/feedback and run `dvc repro feedback` again.")
    warned = [f"{one.check.name}: {one.observed}" for one in seen if not one.passed]
    return {"expectations": len(seen), "warnings": len(warned), "warnings_of": warned}


def where(names: tuple[str, ...]) -> str:
    return f" ({', '.join(names)})" if names else ""


def record_checks() -> list[Check]:
    return [
        Check("No two records share an id", "critical", "unique", {"column": "id"}),
        Check("Every id is 32 hexadecimal digits", "critical", "regex", {"column": "id", "regex": r"^[0-9a-f]{32}\Z"}),
        Check("Every record is a rating or a vote", "critical", "in set", {"column": "kind", "value_set": ["Rating", "Vote"]}),
        Check("Every person is a pseudonym", "critical", "regex", {"column": "rater", "regex": r"^[0-9a-f]{16}\Z"}),
        Check("Every record is on one side", "critical", "in set", {"column": "side", "value_set": ["training", "held out"]}),
        Check("Every weight is between 0 and 1", "critical", "between", {"column": "weight", "min_value": 0, "max_value": 1}),
        *(
            Check(f"No record still holds {what}", "critical", "between", {"column": kind, "max_value": 0})
            for kind, what in LEFTOVERS.items()
        ),
    ]


def total_checks(limits: Mapping[str, float]) -> list[Check]:
    quarantined, least, voice = limits["max_quarantined"], limits["min_agreement"], limits["max_voice"]
    share = {"column": "quarantined", "max_value": quarantined}
    return [
        Check("Every line is kept or quarantined", "critical", "equal", {"column_A": "lines", "column_B": "accounted"}),
        Check("No prompt lies on both sides", "critical", "between", {"column": "on_both_sides", "max_value": 0}),
        Check(f"At most {quarantined:.0%} of the lines are quarantined", "warning", "between", share, "max_quarantined"),
        *(
            Check(f"People agree on {kind}: alpha of at least {least:g}", "warning", "between", agreeing(kind, least), "min_agreement")
            for kind in ("thumbs", "votes")
        ),
        Check(f"Nobody has over {voice:.0%} of all weight", "warning", "between", {"column": "voice", "max_value": voice}, "max_voice"),
    ]


def agreeing(kind: str, least: float) -> dict[str, Any]:
    return {"column": f"agreement_{kind}", "min_value": least}
