"""tasks: documents and annotations in, labelled examples out that nobody had to label by hand.

data/dedup, data/annotate -> data/tasks/<name>.jsonl, reports/tasks.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tasks.config import TasksConfig
from privllm.tasks.recipe import derive


def main(source: Path, annotations: Path, out: Path, report: Path, store: Store) -> None:
    cfg = read_params("tasks", TasksConfig)
    write_report(report, derive(cfg, source, annotations, out, store))


if __name__ == "__main__":
    run(main)
