"""Validate stage: stops the build when the corpus does not meet critical expectations.

data/dedup + two reports + the promoted build's summary -> data/validate (statistics per document, `statistics.json`,
`verdict.json`) and Data Docs. It changes no document and drops none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from privllm.core.errors import UserError
from privllm.core.records import DEDUPED
from privllm.core.report import write_json
from privllm.core.tables import read_table, shards_of
from privllm.engine.extensions import NO_EXTENSIONS, Extensions
from privllm.engine.store import NO_STORE, Store
from privllm.validate.copied_sources import explained
from privllm.validate.describe import describe_shard
from privllm.validate.drift import MEASURES, drift, read_promoted, summarise
from privllm.validate.drop_reasons import COLUMNS, describe_losses, read_cleaned, read_collected, reasons
from privllm.validate.expectations import LISTED, Check, ValidateConfig, expectations, sentences_of
from privllm.validate.own_expectations import own_checks, own_expectations
from privllm.validate.statistics import columns_of, totals

if TYPE_CHECKING:
    from privllm.validate.suite import Outcome

__all__ = ["ValidateConfig", "ValidateInputs", "validate"]

OF_LOSSES = ("min_survival", "losses.stop")  # parameters of checks whose failure has its causes in earlier stages
Tables = dict[str, pd.DataFrame]
Changed = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ValidateInputs:
    """Inputs of the stage: a folder of `records.DEDUPED` shards, two reports, and the promoted build's summary."""

    source: Path
    collect_report: Path
    clean_report: Path
    promoted: Path


def validate(
    cfg: ValidateConfig,
    inputs: ValidateInputs,
    out: Path,
    docs: Path,
    store: Store = NO_STORE,
    extensions: Extensions = NO_EXTENSIONS,
) -> dict[str, Any]:
    """Write `out/*.parquet`, `out/statistics.json`, `out/verdict.json` and `docs/index.html`, and return the report.

    Raises UserError when a critical expectation fails (all four are written by then), when there is no document,
    when the promoted summary cannot be read, or an extension cannot be used.
    """
    promoted = read_promoted(inputs.promoted)
    own_expectations(extensions)  # now, so that workers are forked with them
    jobs = [(shard, inputs.source / "copied" / shard.name, extensions) for shard in shards_of(inputs.source)]
    shards = store.map(describe_shard, jobs, out, "validate")
    documents = readable(shards, inputs, out)
    summary = summarise(documents)
    changed = drift(summary, promoted)
    collected, cleaned = read_collected(inputs.collect_report), read_cleaned(inputs.clean_report)
    whole = totals(documents, cfg.language, collected, cleaned)
    checks = expectations(cfg, columns_of(DEDUPED), changed)
    checks["documents"] += own_checks(extensions, sentences_of(checks))
    tables = tables_of(shards, documents, whole, changed)
    drop_reasons = pd.DataFrame(reasons(collected, cleaned), columns=COLUMNS)
    tables["reasons"] = drop_reasons.astype({"quarantined": float, "dropped": float})
    results = [explained(outcome, documents) for outcome in judge_and_publish(tables, checks, docs)]
    failed = [outcome for outcome in results if outcome.failed_critical]
    write_json(out / "statistics.json", summary)
    # Later stages depend on the verdict: while the suite passes, no document and no new expectation changes it.
    write_json(out / "verdict.json", {"passed": not failed})
    if failed:
        raise UserError(complaint(failed, docs, describe_losses(collected, cleaned)))
    return report(whole, results, changed)


def readable(shards: list[dict[str, Any]], inputs: ValidateInputs, out: Path) -> pa.Table:
    """Return the statistics of all documents. Raises UserError where there are none."""
    if not sum(shard["documents"] for shard in shards):
        losses = describe_losses(read_collected(inputs.collect_report), read_cleaned(inputs.clean_report))
        why = f"{losses}; " if losses else ""
        raise UserError(
            f"{inputs.source} holds no document: {why}{inputs.clean_report} says why. Or add some to data/sources."
        )
    documents = pa.concat_tables([read_table(out / shard["shard"]) for shard in shards])
    if not len(documents):
        raise UserError(
            f"no shard in {inputs.source} has the columns `{columns_of(DEDUPED)}`: run `dvc repro --force dedup`."
        )
    return documents


def tables_of(
    shards: list[dict[str, Any]],
    documents: pa.Table,
    whole: Mapping[str, Any],
    changed: Changed,
) -> Tables:
    """Return the tables `shards`, `documents` and `totals` of `expectations`.

    A drift that is not known is NaN, which no expectation judges.
    """
    totals_row = dict(whole)
    for measure in MEASURES:
        totals_row[f"drift_{measure}"] = changed.get(measure, {}).get("psi", math.nan)
    return {
        "shards": pd.DataFrame(shards),
        "documents": documents.to_pandas(),
        "totals": pd.DataFrame([totals_row]),
    }


def judge_and_publish(tables: Tables, checks: dict[str, list[Check]], docs: Path) -> list["Outcome"]:
    """Return the outcome of every check, and write Data Docs to `docs/index.html`."""
    # Imported late: Great Expectations takes five seconds, and every worker process imports this module.
    from privllm.validate.data_docs import write_docs
    from privllm.validate.suite import judge, outcomes

    results = judge(tables, checks)
    by_check = outcomes(results, checks, tables)
    (figures,) = tables["totals"].to_dict("records")
    write_docs(results, by_check, figures, docs / "index.html")
    return by_check


def complaint(failed: list["Outcome"], docs: Path, losses: str = "") -> str:
    """Return which critical expectations failed, what was observed on which documents, and what to do.

    losses: reasons for which too little survives, and their parameters.
    """
    subject = "a critical expectation failed"
    if len(failed) > 1:
        subject = f"{len(failed)} critical expectations failed"
    details = " ".join(describe(outcome) for outcome in failed)
    if losses and any(outcome.check.parameter in OF_LOSSES for outcome in failed):
        details += (
            f" Why: {losses}; data/clean/dropped/dropped.txt and data/collect/quarantine/quarantine.txt name each."
        )
    advice = f"Fix this and run `dvc repro` again. Every result: {docs / 'index.html'}."
    return f"{subject}, and nothing after `validate` runs. {details} {advice}"


def describe(outcome: "Outcome") -> str:
    """Return `"No document still holds an IBAN": 2 of 90 documents (mail/7.eml (0c...), ...); allowed: at most 0.`"""
    check = outcome.check
    text = f'"{check.name}": {outcome.observed}'
    if outcome.which:
        ellipsis = ", ..." if len(outcome.which) == LISTED else ""
        text += f" ({', '.join(outcome.which)}{ellipsis})"
    if check.allowed:
        text += f"; allowed: {check.allowed}"
    if check.parameter:
        text += f" (`validate.{check.parameter}` in params.yaml)"
    return f"{text}."


COPIED = ("documents", "leftover_personal_data", "language")
ROUNDED = ("survival_rate", "language_share", "mean_characters", "mean_words", "placeholder_density", "copied_share")


def report(whole: Mapping[str, Any], results: list["Outcome"], changed: Changed) -> dict[str, Any]:
    """Return reports/validate.json."""
    warnings = [f"{outcome.check.name}: {outcome.observed}" for outcome in results if not outcome.passed]
    return {
        **{key: whole[key] for key in COPIED},
        **{key: round(whole[key], 4) for key in ROUNDED},
        "expectations": len(results),
        "failed_critical": 0,
        "warnings": len(warnings),
        "warnings_of": warnings,
        "drift": {measure: values["psi"] for measure, values in changed.items()},
    }
