"""dedup: tidy documents in, one of each cluster of duplicates out.

data/clean -> data/dedup, reports/dedup.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.stage import run
from privllm.core.store import open_store
from privllm.dedup.recipe import DedupConfig, dedup


def main(source: Path, out: Path, report: Path) -> None:
    cfg = read_params("dedup", DedupConfig)
    write_json(report, dedup(cfg, source, out, open_store("dedup")))


if __name__ == "__main__":
    run(main)
