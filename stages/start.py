"""start: the last promoted model or one below data/base in, the model that each training begins with out.

data/promoted/model, data/base, data/replay -> data/start/{<family>, tokenizer}, reports/start.json

A family that is not built gets a note instead. Beside a base model stands general text, of data/replay or its own.
"""

from pathlib import Path

from privllm.clean.recipe import CleanConfig, text_cleaner
from privllm.core.base_model import starts_in
from privllm.core.families import TRAITS
from privllm.core.params import deciding_sections, read_params
from privllm.core.report import write_report
from privllm.engine.fingerprint import extensions_of
from privllm.engine.skipped_families import leave_note, not_built
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tokens.base_models import take_starts
from privllm.tokens.general_text import ReplayConfig
from privllm.train.replay_text import add_general_text

SECTIONS = ("base", "replay", "clean")  # of params.yaml, and `families`


def main(promoted: Path, base: Path, replay: Path, out: Path, report: Path, store: Store) -> None:
    params = deciding_sections()
    families = params["families"]
    figures = take_starts(starts_in(params, families), promoted, base, out)
    clean = text_cleaner(read_params("clean", CleanConfig), extensions_of("start"))
    add_general_text(read_params("replay", ReplayConfig), figures, replay, out, clean, store)
    write_report(report, figures)
    for family in sorted(set(TRAITS) - set(families)):
        leave_note(not_built(family), out / family)


if __name__ == "__main__":
    run(main)
