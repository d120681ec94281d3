"""clean: documents in, tidy documents out, and the dropped ones with their reason.

data/collect -> data/clean, reports/clean.json
"""

from pathlib import Path

from privllm.clean.recipe import LIST, CleanConfig, clean, describe_languages
from privllm.core.params import read_params
from privllm.core.printable import say
from privllm.core.report import write_report
from privllm.engine.dropped import tell
from privllm.engine.stage import run
from privllm.engine.store import open_store


def main(source: Path, out: Path, report: Path) -> None:
    cfg = read_params("clean", CleanConfig)
    found = clean(cfg, source, out, open_store("clean"))
    write_report(report, found)
    say(f"clean found these languages: {describe_languages(found)}")
    tell("clean", out / "dropped" / LIST, found["documents_in"], "documents")


if __name__ == "__main__":
    run(main)
