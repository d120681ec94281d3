"""collect: files in, documents out; what cannot be read is quarantined with a reason.

data/sources -> data/collect, reports/collect.json
"""

from pathlib import Path
from typing import Annotated

import typer

from privllm.collect.recipe import CollectConfig, collect
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.stage import run
from privllm.core.store import open_store


def main(
    sources: Path, out: Path, report: Path, verify: Annotated[bool, typer.Option(help="Open every file, changed or not.")] = False
) -> None:
    cfg = read_params("collect", CollectConfig)
    write_json(report, collect(cfg, sources, out, open_store("collect"), verify))


if __name__ == "__main__":
    run(main)
