"""finetune: a pretrained model and labelled examples in, a model for one task out, and what the pretrained start was worth.

<task>.jsonl, data/pretrain/<family>, data/tokenizer, data/validate/verdict.json
    -> data/finetune/<task>, reports/finetune/<task> (losses), reports/finetune/<task>.json, reports/metrics/finetune/<task>.json
"""

from pathlib import Path

from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.report import write_json, write_report
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.fingerprint import FOLDER
from privllm.engine.skipped_families import reason_in, skip
from privllm.engine.stage import require_verdict, run
from privllm.train.config import FinetuneConfig

WORK = Path(".privllm/work/finetune")  # where a run that was killed left its checkpoint


def main(data: Path, start: Path, tokenizer: Path, verdict: Path, out: Path, live: Path, report: Path, metrics: Path) -> None:
    require_verdict(verdict)
    if reason := reason_in(start):
        figures = skip(f"finetune.tasks.{out.name}", f"it begins with {start}, but {reason}", out, live)
    else:
        from privllm.train.finetune import FinetuneInputs, finetune  # not before it is known that there is work for torch
        from privllm.train.loop import Work

        task, minutes = f"finetune.tasks.{out.name}", read_params("executor", ExecutorConfig).checkpoint_minutes
        cfg = read_params("finetune.defaults", FinetuneConfig, over=task)
        work = Work(WORK / out.name, (FOLDER / "finetune.json").read_text("utf-8"), 60 * minutes)
        knobs = f"Lower `{task}.batch_size`, or set `{task}.lora.rank` above 0 or `{task}.precision` to bf16"
        with shortage_explained(f"{knobs}, in params.yaml; or close other programs"):
            figures = finetune(out.name, cfg, FinetuneInputs(data, start, tokenizer), out, live, work)
    write_report(report, figures)
    write_json(metrics, {out.name: {figures["main"]: figures["test"][figures["main"]]} if "main" in figures else {}})


if __name__ == "__main__":
    run(main)
