"""clean: documents in, tidy documents out, and the dropped ones with their reason.

data/collect -> data/clean, reports/clean.json
"""

from pathlib import Path

from privllm.clean.recipe import CleanConfig, clean
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.stage import run
from privllm.core.store import open_store


def main(source: Path, out: Path, report: Path) -> None:
    cfg = read_params("clean", CleanConfig)
    write_json(report, clean(cfg, source, out, open_store("clean")))


if __name__ == "__main__":
    run(main)
