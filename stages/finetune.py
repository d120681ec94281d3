"""finetune: a pretrained model and labelled examples in, a model for one task out, and what the pretrained start was worth.

<task>.jsonl, data/pretrain/<family>, data/tokenizer, data/validate/verdict.json
    -> data/finetune/<task>, reports/finetune/<task> (losses), reports/finetune/<task>.json, and of it reports/metrics/finetune/<task>.json
       for `dvc exp show`
"""

from pathlib import Path

from privllm.core.cluster import ExecutorConfig
from privllm.core.fingerprint import FOLDER
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.skipped import reason_in, skip
from privllm.core.stage import require_verdict, run
from privllm.train.config import FinetuneConfig

WORK = Path(".privllm/work/finetune")  # where a run that was killed left its checkpoint


def main(data: Path, start: Path, tokenizer: Path, verdict: Path, out: Path, live: Path, report: Path, metrics: Path) -> None:
    require_verdict(verdict)
    task = out.name
    if reason := reason_in(start):
        write_json(report, skip(f"finetune.tasks.{task}", f"it begins with {start}, but {reason}", out, live))
        write_json(metrics, {task: {}})
        return
    from privllm.train.finetune import Inputs, finetune  # not before it is known that there is work for torch
    from privllm.train.loop import Work

    cfg = read_params("finetune.defaults", FinetuneConfig, over=f"finetune.tasks.{task}")
    seconds = 60 * read_params("executor", ExecutorConfig).checkpoint_minutes
    work = Work(WORK / task, (FOLDER / "finetune.json").read_text("utf-8"), seconds)
    figures = finetune(task, cfg, Inputs(data, start, tokenizer), out, live, work)
    write_json(report, figures)
    main_figure = {figures["main"]: figures["test"][figures["main"]]} if "main" in figures else {}  # a skipped task has none
    write_json(metrics, {task: main_figure})


if __name__ == "__main__":
    run(main)
