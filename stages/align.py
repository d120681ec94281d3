"""align: a pretrained model and ratings of replies in, an aligned model (or the same bytes) out.

data/pretrain/<family>, data/feedback_clean, data/pack, data/tokenizer
    -> data/align/<family>, reports/align/<family> (losses), reports/align/<family>.json
"""

from pathlib import Path

from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.core.work_paths import CHECKPOINTS
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.fingerprint import FOLDER
from privllm.engine.stage import run
from privllm.models.device_config import DevicesConfig, use
from privllm.train.align.config import AlignConfig, AlignInputs, Places
from privllm.train.align.recipe import align


def main(start: Path, feedback: Path, rows: Path, tokenizer: Path, out: Path, live: Path, report: Path) -> None:
    family = out.name
    cfg = read_params("align", AlignConfig)
    use(read_params("train", DevicesConfig))
    pace = read_params("executor", ExecutorConfig)
    code = (FOLDER / "align.json").read_text("utf-8")
    inputs = AlignInputs(start, feedback, rows, tokenizer)
    work = CHECKPOINTS / "align" / family
    places = Places(out, live, work, code, 60 * pace.checkpoint_minutes, pace.batch_workers, pace.recompute)
    with shortage_explained(
        "Lower `align.batch_size`, set `align.lora.rank` above 0, or train a smaller "
        f"`pretrain.{family}.model`, in params.yaml; or close other programs"
    ):
        write_report(report, align(family, cfg, inputs, places))


if __name__ == "__main__":
    run(main)
