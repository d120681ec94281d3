"""validate: documents and two reports in, a verdict out; a failed critical expectation stops the build.

data/dedup, reports/{collect,clean}.json, data/promoted/statistics.json -> data/validate,
reports/validate, reports/validate.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.fingerprint import extensions_of
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.validate.recipe import ValidateConfig, ValidateInputs, validate


def main(
    source: Path,
    collected: Path,
    cleaned: Path,
    promoted: Path,
    out: Path,
    docs: Path,
    report: Path,
    store: Store,
) -> None:
    cfg = read_params("validate", ValidateConfig)
    inputs = ValidateInputs(source, collected, cleaned, promoted)
    write_report(report, validate(cfg, inputs, out, docs, store, extensions_of("validate")))


if __name__ == "__main__":
    run(main)
