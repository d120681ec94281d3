"""tasks: documents and annotations in, labelled examples out that nobody labelled by hand.

data/dedup, data/annotate -> data/tasks/<name>.jsonl, reports/tasks.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.core.split import SplitConfig
from privllm.engine.stage import run
from privllm.engine.store import open_store
from privllm.tasks.config import TasksConfig
from privllm.tasks.recipe import derive


def main(source: Path, annotations: Path, out: Path, report: Path) -> None:
    cfg = read_params("tasks", TasksConfig)
    write_report(report, derive(cfg, read_params("split", SplitConfig), source, annotations, out, open_store("tasks")))


if __name__ == "__main__":
    run(main)
