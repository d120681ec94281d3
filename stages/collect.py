"""collect: files in, documents out; what cannot be read is quarantined with a reason.

data/sources -> data/collect, reports/collect.json
--verify opens every file, whether it looks changed or not.
"""

from pathlib import Path

from privllm.collect.recipe import LIST, CollectConfig, collect
from privllm.core.params import read_params
from privllm.core.printable import say
from privllm.core.report import write_report
from privllm.engine.dropped import print_dropped
from privllm.engine.fingerprint import extensions_of
from privllm.engine.stage import run
from privllm.engine.store import Store


def main(sources: Path, out: Path, report: Path, verify: bool, store: Store) -> None:
    cfg = read_params("collect", CollectConfig)
    counts = collect(cfg, sources, out, store, verify, extensions_of("collect"))
    write_report(report, counts)
    print_dropped("collect", out / "quarantine" / LIST, counts["entries"], "files, and documents inside files")
    if pages := counts["scanned_pages"]:
        say(f"collect did not read {pages:,} scanned pages of files that have text on others (needs_ocr)")


if __name__ == "__main__":
    run(main)
