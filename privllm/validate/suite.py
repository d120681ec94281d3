"""Runner of the checks of `expectations`, by Great Expectations.

It runs in an ephemeral context: no project folder, no account, no analytics, no progress bars. It sees ids, sources
and numbers, never a text. Importing this takes five seconds, which is why only `recipe.validate` does, at its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import privllm.core.offline  # noqa: F401  isort: skip  (first: it switches Great Expectations' analytics off)
import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core.expectation_validation_result import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.metadata_types import FailureSeverity

from privllm.core.printable import printable
from privllm.validate.expectations import LISTED, Check

Results = dict[str, ExpectationSuiteValidationResult]

KINDS: dict[str, type[gxe.Expectation]] = {
    "at least": gxe.ExpectColumnPairValuesAToBeGreaterThanB,
    "between": gxe.ExpectColumnValuesToBeBetween,
    "equal": gxe.ExpectColumnPairValuesToBeEqual,
    "in set": gxe.ExpectColumnValuesToBeInSet,
    "length": gxe.ExpectColumnValueLengthsToBeBetween,
    "regex": gxe.ExpectColumnValuesToMatchRegex,
    "unique": gxe.ExpectColumnValuesToBeUnique,
}
# Great Expectations could name the failing rows itself (COMPLETE), at 20 seconds per 100,000 of them.
AS_EXPECTED = "as expected"
FORMAT = {"result_format": "BASIC", "partial_unexpected_count": LISTED}


@dataclass(frozen=True)
class Outcome:
    """Result of one check; `which` names up to `LISTED` rows that fail it ("source (id)" for documents)."""

    check: Check
    passed: bool
    observed: str
    which: tuple[str, ...]

    @property
    def failed_critical(self) -> bool:
        return not self.passed and self.check.severity == "critical"


def judge(tables: Mapping[str, pd.DataFrame], checks: Mapping[str, list[Check]]) -> Results:
    """Return Great Expectations' results for every table, in the order of `checks`."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("corpus")
    results: Results = {}
    for table, table_checks in checks.items():
        definition = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch({"dataframe": tables[table]})
        expectations = [expectation_of(check) for check in table_checks]
        suite = gx.ExpectationSuite(name=table, expectations=expectations)
        result = batch.validate(suite, result_format=FORMAT)
        results[table] = in_order(result, table_checks)
    return results


def expectation_of(check: Check) -> gxe.Expectation:
    """Return Great Expectations' form of a check."""
    meta = {"name": check.name, "severity": check.severity}
    severity = FailureSeverity(check.severity)
    return KINDS[check.kind](description=check.name, severity=severity, meta=meta, **check.limits)


def in_order(result: ExpectationSuiteValidationResult, checks: list[Check]) -> ExpectationSuiteValidationResult:
    """Return the same results in the order of the checks: Great Expectations groups them by column."""
    place = {check.name: index for index, check in enumerate(checks)}
    result.results.sort(key=lambda single: place[single.expectation_config.meta["name"]])  # type: ignore[union-attr]
    return result


def outcomes(
    results: Results,
    checks: Mapping[str, list[Check]],
    tables: Mapping[str, pd.DataFrame],
) -> list[Outcome]:
    """Return the outcome of every check. An expectation that raised is a mistake of ours."""
    by_check = []
    for table, suite_result in results.items():
        for result, check in zip(suite_result.results, checks[table], strict=True):
            by_check.append(outcome_of(tables[table], table, result, check))
    return by_check


def outcome_of(frame: pd.DataFrame, table: str, result: ExpectationValidationResult, check: Check) -> Outcome:
    """Return the outcome of one check on a table, with the rows that fail it."""
    assert result.result, f"{check.name}: {result.exception_info}"
    passed = bool(result.success)
    values = result.result["partial_unexpected_list"]
    if table == "totals":
        observed = figures_of(check, values[0]) if values else AS_EXPECTED
        return Outcome(check, passed, observed, ())
    is_failing = frame[check.limits["column"]].isin(values)
    rows = frame[is_failing].head(LISTED).to_dict("records")
    if table == "reasons":
        reasons = [reason_of(row) for row in rows]
        return Outcome(check, passed, ", ".join(reasons) or AS_EXPECTED, ())
    observed = f"{result.result['unexpected_count']} of {result.result['element_count']} {table}"
    return Outcome(check, passed, observed, tuple(name_of(row) for row in rows))


def name_of(row: Mapping[Any, Any]) -> str:
    """Return what a row is called: a shard's file, or a document's source and id."""
    if "shard" in row:
        return printable(row["shard"])
    return printable(f"{row['source']} ({row['id']})")


def reason_of(row: Mapping[Any, Any]) -> str:
    reason = printable(row["reason"])
    return f"{row['count']:,} of {row['of']:,} for {reason}"


def figures_of(check: Check, value: Any) -> str:
    """Return the figure of the whole corpus that fails `check`, or the pair of them, as text."""
    if isinstance(value, tuple | list):
        value_a, value_b = value
        return f"{check.limits['column_A']} {value_a}, {check.limits['column_B']} {value_b}"
    return f"{value:.4g}"
