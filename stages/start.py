"""start: the last promoted model or one below data/base in, the model that each training begins with out.

data/promoted/model, data/base -> data/start/{<family>, tokenizer}, reports/start.json

A family that is not built gets a note instead.
"""

from pathlib import Path

from privllm.core.base_model import starts_in
from privllm.core.families import TRAITS
from privllm.core.params import deciding_sections
from privllm.core.report import write_report
from privllm.engine.skipped_families import leave_note, not_built
from privllm.engine.stage import run
from privllm.tokens.base_models import take_starts

SECTIONS = ("base",)  # of params.yaml, and `families`


def main(promoted: Path, base: Path, out: Path, report: Path) -> None:
    params = deciding_sections()
    families = params["families"]
    write_report(report, take_starts(starts_in(params, families), promoted, base, out))
    for family in sorted(set(TRAITS) - set(families)):
        leave_note(not_built(family), out / family)


if __name__ == "__main__":
    run(main)
