"""collect: files in, documents out; what cannot be read is quarantined with a reason.

data/sources -> data/collect, reports/collect.json
--verify opens every file, whether it looks changed or not.
"""

from pathlib import Path

from privllm.collect.recipe import CollectConfig, collect
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.stage import run
from privllm.core.store import open_store


def main(sources: Path, out: Path, report: Path, verify: bool) -> None:
    cfg = read_params("collect", CollectConfig)
    write_json(report, collect(cfg, sources, out, open_store("collect"), verify))


if __name__ == "__main__":
    run(main)
