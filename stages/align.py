"""align: a pretrained model and what people said of replies in; a model that answers as they would like, or the same bytes, out.

data/pretrain/<family>, data/feedback_clean, data/pack, data/tokenizer
    -> data/align/<family>, reports/align/<family> (losses), reports/align/<family>.json
"""

from pathlib import Path

from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.fingerprint import FOLDER
from privllm.engine.stage import run
from privllm.train.align.config import AlignConfig, AlignInputs, Places
from privllm.train.align.recipe import align

WORK = Path(".privllm/work/align")  # where a run that was killed left its checkpoint


def main(start: Path, feedback: Path, rows: Path, tokenizer: Path, out: Path, live: Path, report: Path) -> None:
    cfg, family = read_params("align", AlignConfig), out.name
    seconds = 60 * read_params("executor", ExecutorConfig).checkpoint_minutes
    places = Places(out, live, WORK / family, (FOLDER / "align.json").read_text("utf-8"), seconds)
    with shortage_explained(
        f"Lower `align.batch_size`, set `align.lora.rank` above 0, or train a smaller `pretrain.{family}.model`, in params.yaml; or "
        "close other programs"
    ):
        write_report(report, align(family, cfg, AlignInputs(start, feedback, rows, tokenizer), places))


if __name__ == "__main__":
    run(main)
