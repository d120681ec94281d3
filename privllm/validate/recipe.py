"""validate: stops the build when the corpus is not what it should be.

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
from privllm.engine.store import NO_STORE, Store
from privllm.validate.drift import MEASURES, drift, read_promoted, summarise
from privllm.validate.drop_reasons import COLUMNS, read_cleaned, read_collected, reasons
from privllm.validate.expectations import LISTED, Check, ValidateConfig, expectations
from privllm.validate.statistics import columns_of, describe_shard, totals

if TYPE_CHECKING:
    from privllm.validate.suite import Outcome

__all__ = ["ValidateConfig", "ValidateInputs", "validate"]

Tables = dict[str, pd.DataFrame]
Changed = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ValidateInputs:
    """What is judged: a folder of `records.DEDUPED` shards, two reports, and the summary of the build in use."""

    source: Path
    collect_report: Path
    clean_report: Path
    promoted: Path


def validate(cfg: ValidateConfig, inputs: ValidateInputs, out: Path, docs: Path, store: Store = NO_STORE) -> dict[str, Any]:
    """Write `out/*.parquet`, `out/statistics.json`, `out/verdict.json` and `docs/index.html`; returns the report.

    Raises UserError when a critical expectation fails (all four are written by then), when there is no document, or
    when the promoted summary cannot be read.
    """
    promoted = read_promoted(inputs.promoted)
    shards = store.map(describe_shard, [(shard,) for shard in shards_of(inputs.source)], out, "validate")
    documents = readable(shards, inputs, out)
    summary = summarise(documents)
    changed = drift(summary, promoted)
    collected, cleaned = read_collected(inputs.collect_report), read_cleaned(inputs.clean_report)
    whole = totals(documents, cfg.language, collected, cleaned)
    checks = expectations(cfg, columns_of(DEDUPED), changed)
    left_out = pd.DataFrame(reasons(collected, cleaned), columns=COLUMNS).astype({"quarantined": float, "dropped": float})
    tables = tables_of(shards, documents, whole, changed) | {"reasons": left_out}
    found = judge_and_publish(tables, checks, docs)
    stopped = [outcome for outcome in found if outcome.failed_critical]
    write_json(out / "statistics.json", summary)
    # Later stages depend on the verdict: while the suite passes it holds nothing that a changed document changes.
    write_json(out / "verdict.json", {"passed": not stopped, "expectations": len(found)})
    if stopped:
        raise UserError(complaint(stopped, docs))
    return report(whole, found, changed)


def readable(shards: list[dict[str, Any]], inputs: ValidateInputs, out: Path) -> pa.Table:
    """The statistics of all documents, of which there must be one at least."""
    if not sum(shard["documents"] for shard in shards):
        raise UserError(f"{inputs.source} holds no document: {inputs.clean_report} says why. Or add some to data/sources.")
    documents = pa.concat_tables([read_table(out / shard["shard"]) for shard in shards])
    if not len(documents):
        raise UserError(f"no shard in {inputs.source} has the columns `{columns_of(DEDUPED)}`: run `dvc repro --force dedup`.")
    return documents


def tables_of(shards: list[dict[str, Any]], documents: pa.Table, whole: Mapping[str, Any], changed: Changed) -> Tables:
    """Three of the tables that `expectations` speaks of. A drift that cannot be known is NaN, which no expectation judges."""
    drifts = {f"drift_{measure}": changed.get(measure, {}).get("psi", math.nan) for measure in MEASURES}
    return {"shards": pd.DataFrame(shards), "documents": documents.to_pandas(), "totals": pd.DataFrame([{**whole, **drifts}])}


def judge_and_publish(tables: Tables, checks: dict[str, list[Check]], docs: Path) -> list["Outcome"]:
    """The checks carried out, and Data Docs of it at `docs/index.html`."""
    # Imported late: Great Expectations takes five seconds, and every worker process imports this module.
    from privllm.validate.data_docs import write_docs
    from privllm.validate.suite import judge, outcomes

    results = judge(tables, checks)
    found = outcomes(results, checks, tables)
    write_docs(results, found, tables["totals"].to_dict("records")[0], docs / "index.html")
    return found


def complaint(stopped: list["Outcome"], docs: Path) -> str:
    """Which critical expectations failed, on what was observed, on which documents, and what to do."""
    many = f"{len(stopped)} critical expectations failed" if len(stopped) > 1 else "a critical expectation failed"
    each = " ".join(describe(outcome) for outcome in stopped)
    return f"{many}, and nothing after `validate` runs. {each} Mend this and run `dvc repro` again. Every result: {docs / 'index.html'}."


def describe(outcome: "Outcome") -> str:
    """`"No document still holds an IBAN": 2 of 90 documents (mail/7.eml (0c...), ...); allowed: at most 0.`"""
    check = outcome.check
    where = f" ({', '.join(outcome.which)}{', ...' if len(outcome.which) == LISTED else ''})" if outcome.which else ""
    limit = f"; allowed: {check.allowed}" if check.allowed else ""
    knob = f" (`validate.{check.parameter}` in params.yaml)" if check.parameter else ""
    return f'"{check.name}": {outcome.observed}{where}{limit}{knob}.'


def report(whole: Mapping[str, Any], found: list["Outcome"], changed: Changed) -> dict[str, Any]:
    """reports/validate.json."""
    warned = [outcome for outcome in found if not outcome.passed]
    shown = ("documents", "leftover_personal_data", "language")
    rounded = ("survival_rate", "language_share", "mean_characters", "mean_words", "placeholder_density")
    return {
        **{key: whole[key] for key in shown},
        **{key: round(whole[key], 4) for key in rounded},
        "expectations": len(found),
        "failed_critical": 0,
        "warnings": len(warned),
        "warnings_of": [f"{outcome.check.name}: {outcome.observed}" for outcome in warned],
        "drift": {measure: values["psi"] for measure, values in changed.items()},
    }
