"""A stage that several processes share: `python -m tests.train.shared_stage STAGE SHOP PLACE NAME=VALUE ...`, names as in `Wanted`."""

import signal
import sys
from pathlib import Path
from typing import NamedTuple

from privllm.core.errors import UserError
from privllm.models.device_config import DevicesConfig, use
from privllm.train.align.config import AlignInputs
from privllm.train.align.recipe import align
from privllm.train.finetune import FinetuneInputs, finetune
from privllm.train.loop import Work
from privllm.train.pretrain import PretrainInputs, pretrain
from tests.train import tiny_corpus, tiny_feedback, tiny_tasks
from tests.train.shared_training import struck


class Wanted(NamedTuple):
    """How to train, and who dies when."""

    devices: str = "1"
    nodes: str = "1"
    strategy: str = "auto"
    dies: str = ""  # a process, ":", and the step at whose beginning it kills itself
    section: str = ""  # of which it is a step; any where empty


def run(stage: str, shop: Path, place: Path) -> dict:
    out, live, work = place / "out", place / "live", place / "work"
    if stage == "finetune":
        inputs = FinetuneInputs(shop / "classification.jsonl", shop / "masked")
        cfg = tiny_tasks.tiny("classification", "masked", compare_random=True)
        return finetune("mine", cfg, inputs, out, live, Work(work / "mine", "code", 0.0))
    if stage == "align":
        lessons = AlignInputs(shop / "start", shop / "feedback/clean", shop / "rows", shop / "tokenizer")
        return align("causal", tiny_feedback.tiny(), lessons, tiny_feedback.places(place))
    packed = PretrainInputs(shop / "pack", shop / "guide", shop / "tokenizer", shop / "start")
    return pretrain("causal", tiny_corpus.tiny(), packed, out, live, Work(work, "code", 0.0))


def main(stage: str, shop: str, place: str, *words: str) -> None:
    wanted = Wanted(**dict(word.split("=") for word in words))
    if wanted.dies:
        struck(*wanted.dies.split(":"), sign=signal.SIGKILL, section=wanted.section)
    use(DevicesConfig(devices=int(wanted.devices), nodes=int(wanted.nodes), strategy=wanted.strategy))
    try:
        print(sorted(run(stage, Path(shop), Path(place))))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
