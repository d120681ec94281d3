"""pretrain: packed rows in, a causal transformer out, trained until its criteria are met.

data/pack, data/tokenizer, data/validate/verdict.json -> data/pretrain, reports/pretrain (losses), reports/pretrain.json
"""

from pathlib import Path

from privllm.core.fingerprint import FOLDER
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.stage import require_verdict, run
from privllm.train.config import PretrainConfig
from privllm.train.pretrain import Work, pretrain

WORK = Path(".privllm/work/pretrain")  # where a run that was killed left its checkpoint


def main(rows: Path, tokenizer: Path, verdict: Path, out: Path, live: Path, report: Path) -> None:
    require_verdict(verdict)
    cfg = read_params("pretrain", PretrainConfig)
    work = Work(WORK, (FOLDER / "pretrain.json").read_text("utf-8"))
    write_json(report, pretrain(cfg, rows, tokenizer, out, live, work))


if __name__ == "__main__":
    run(main)
