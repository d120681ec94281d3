"""The Great Expectations suite: what a corpus must be like before anything is annotated, tokenised or trained.

Three small tables are judged (shards, documents, the corpus as one row), none of which holds a text. Great Expectations
runs in an ephemeral context: no project folder, no account, no analytics, no progress bars. Every expectation has a
plain-English name, a severity and, where a person can move its limit, the parameter to turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import privllm.core.offline  # noqa: F401  (first: it switches Great Expectations' analytics off)
import great_expectations as gx  # isort: skip
import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig

from privllm.validate.config import ValidateConfig
from privllm.validate.drift import MEASURES

Results = dict[str, ExpectationSuiteValidationResult]
INDEX = {"shards": ["shard"], "documents": ["source", "id"], "totals": []}
LISTED = 5  # documents named for a failed expectation


@dataclass(frozen=True)
class Outcome:
    """One expectation after the fact. `documents` are up to `LISTED` of those that fail it, as "source (id)"."""

    name: str
    severity: str  # critical, warning
    parameter: str  # what to turn in params.yaml, "" where nothing can be turned
    passed: bool
    observed: str
    documents: tuple[str, ...]


def expect(kind: type[gxe.Expectation], name: str, severity: str, parameter: str = "", **limits: Any) -> gxe.Expectation:
    """An expectation of Great Expectations with our name, severity and knob."""
    meta = {"name": name, "severity": severity, "parameter": parameter, "attributes": {"severity": severity}}
    return kind(description=name, severity=severity, meta=meta, **limits)


def shard_expectations(columns: str) -> list[gxe.Expectation]:
    return [expect(gxe.ExpectColumnValuesToBeInSet, "Every shard has the documented columns", "critical", column="columns", value_set=[columns])]


def document_expectations(cfg: ValidateConfig) -> list[gxe.Expectation]:
    return [*_identity(), *_texts(cfg), *_personal_data()]


def _identity() -> list[gxe.Expectation]:
    return [
        expect(gxe.ExpectColumnValuesToBeUnique, "No two documents share an id", "critical", column="id"),
        expect(gxe.ExpectColumnValuesToMatchRegex, "Every id is 32 hexadecimal digits", "critical", column="id", regex=r"^[0-9a-f]{32}\Z"),
        expect(gxe.ExpectColumnValueLengthsToBeBetween, "Every document says where it came from", "critical", column="source", min_value=1),
    ]


def _texts(cfg: ValidateConfig) -> list[gxe.Expectation]:
    between = gxe.ExpectColumnValuesToBeBetween
    usual = {"severity": "warning", "mostly": cfg.mostly}
    share = f"{cfg.mostly:.0%} of the documents have"
    return [
        expect(
            between,
            f"Every document has at least {cfg.min_characters:,} characters",
            "critical",
            "validate.min_characters",
            column="characters",
            min_value=cfg.min_characters,
        ),
        expect(
            between,
            f"{share} at most {cfg.max_characters:,} characters",
            parameter="validate.max_characters",
            column="characters",
            max_value=cfg.max_characters,
            **usual,
        ),
        expect(
            between,
            f"{share} at most {cfg.max_placeholder_density:g} placeholders per word",
            parameter="validate.max_placeholder_density",
            column="placeholder_density",
            max_value=cfg.max_placeholder_density,
            **usual,
        ),
        expect(
            between,
            f"{share} at least {cfg.min_unique_words:.0%} different words among their first 1,000",
            parameter="validate.min_unique_words",
            column="unique_words",
            min_value=cfg.min_unique_words,
            **usual,
        ),
        expect(
            between,
            f"{share} a language that is {cfg.min_language_score:.0%} certain",
            parameter="validate.min_language_score",
            column="language_score",
            min_value=cfg.min_language_score,
            **usual,
        ),
    ]
