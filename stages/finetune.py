"""finetune: a pretrained model and labelled examples in, a model for one task out.

<task>.jsonl, data/pretrain/<family> or data/base/<name>
    -> data/finetune/<task>, reports/finetune/<task> (losses), reports/finetune/<task>.json,
       reports/metrics/finetune/<task>.json
"""

from pathlib import Path

from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.report import write_json, write_report
from privllm.core.work_paths import CHECKPOINTS
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.fingerprint import FOLDER, extensions_of
from privllm.engine.skipped_families import reason_in, skip
from privllm.engine.stage import run
from privllm.models.device_config import DevicesConfig, use
from privllm.train.config import FinetuneConfig


def main(
    data: Path,
    start: Path,
    out: Path,
    live: Path,
    report: Path,
    metrics: Path,
) -> None:
    name = out.name
    section = f"finetune.tasks.{name}"
    if reason := reason_in(start):
        figures = skip(section, f"it begins with {start}, but {reason}", out, live)
    else:
        from privllm.train.finetune import FinetuneInputs, finetune  # imports torch, so only where there is work
        from privllm.train.loop import Work

        cfg = read_params("finetune.defaults", FinetuneConfig, over=section)
        use(read_params("train", DevicesConfig))
        pace = read_params("executor", ExecutorConfig)
        code = (FOLDER / "finetune.json").read_text("utf-8")
        work = Work(
            CHECKPOINTS / "finetune" / name, code, 60 * pace.checkpoint_minutes, pace.batch_workers, pace.recompute
        )
        inputs = FinetuneInputs(data, start)
        with shortage_explained(
            f"Lower `{section}.batch_size`, or set `{section}.lora.rank` above 0 or `{section}.precision` to bf16, "
            "in params.yaml; or close other programs"
        ):
            figures = finetune(name, cfg, inputs, out, live, work, extensions_of("finetune"))
    write_report(report, figures)
    main_metric = figures.get("main")
    write_json(metrics, {name: {main_metric: figures["test"][main_metric]} if main_metric else {}})


if __name__ == "__main__":
    run(main)
