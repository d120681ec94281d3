"""clean: documents in, clean documents out, and the dropped ones and the flagged ones with their reason.

data/collect -> data/clean, reports/clean.json
"""

from pathlib import Path

from privllm.clean.recipe import FLAGGED_LIST, LIST, CleanConfig, clean, describe_languages
from privllm.core.params import read_params
from privllm.core.printable import say
from privllm.core.report import write_report
from privllm.engine.dropped import print_dropped
from privllm.engine.fingerprint import extensions_of
from privllm.engine.stage import run
from privllm.engine.store import Store


def main(source: Path, out: Path, report: Path, store: Store) -> None:
    cfg = read_params("clean", CleanConfig)
    counts = clean(cfg, source, out, store, extensions_of("clean"))
    write_report(report, counts)
    say(f"clean found these languages: {describe_languages(counts)}")
    print_dropped("clean", out / "dropped" / LIST, counts["documents_in"], "documents")
    print_dropped("clean", out / FLAGGED_LIST, counts["kept"], "documents", verb="kept but flagged")


if __name__ == "__main__":
    run(main)
