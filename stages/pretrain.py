"""pretrain: packed rows in, a transformer of one family out, trained until its criteria are met.

data/pack, data/guide/<family>, data/tokenizer, data/start/<family>, data/validate/verdict.json
    -> data/pretrain/<family>, reports/pretrain/<family> (losses), reports/pretrain/<family>.json
"""

from pathlib import Path

from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.core.work_paths import CHECKPOINTS
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.fingerprint import FOLDER
from privllm.engine.skipped_families import reason_in, skip
from privllm.engine.stage import require_verdict, run
from privllm.models.device_config import DevicesConfig, use
from privllm.train.config import PretrainConfig


def main(
    rows: Path, guide: Path, tokenizer: Path, start: Path, verdict: Path, out: Path, live: Path, report: Path
) -> None:
    require_verdict(verdict)
    family = out.name
    section = f"pretrain.{family}"
    cfg = read_params("pretrain", PretrainConfig)
    use(read_params("train", DevicesConfig))
    if reason := reason_in(start):
        write_report(report, skip(section, reason, out, live))
        return
    from privllm.train.loop import Work  # imports torch, so only where there is work
    from privllm.train.pretrain import PretrainInputs, pretrain

    pace = read_params("executor", ExecutorConfig)
    code = (FOLDER / "pretrain.json").read_text("utf-8")
    work = Work(
        CHECKPOINTS / "pretrain" / family, code, 60 * pace.checkpoint_minutes, pace.batch_workers, pace.recompute
    )
    inputs = PretrainInputs(rows, guide, tokenizer, start)
    with shortage_explained(
        f"Lower `{section}.batch_size` or `pack.context`, take a smaller `{section}.model` (or `base`), "
        f"or set `{section}.precision` to bf16, in params.yaml; or close other programs"
    ):
        write_report(report, pretrain(family, cfg, inputs, out, live, work))


if __name__ == "__main__":
    run(main)
