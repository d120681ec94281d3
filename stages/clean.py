"""clean: documents in, clean documents out, and the dropped ones and the flagged ones with their reason.

data/collect -> data/clean, reports/clean.json
"""

from pathlib import Path

from privllm.clean.recipe import FLAGGED_LIST, LIST, CleanConfig, clean, describe_languages, judged
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
    unit = "documents"
    if counts["cut"]:
        unit = "documents and sections"
        say(f"clean cut {counts['cut']:,} long documents into {counts['sections']:,} sections (`clean.section_words`)")
    print_dropped("clean", out / "dropped" / LIST, judged(counts), unit)
    print_dropped("clean", out / FLAGGED_LIST, counts["kept"], unit, verb="kept but flagged")


if __name__ == "__main__":
    run(main)
