"""A training that several processes share: `python -m tests.train.shared_training CORPUS PLACE PROCESSES [FAMILY] [RANK STEP]`.

It leaves the weights in PLACE/model.safetensors and the curve in PLACE/live. Process RANK kills itself at STEP.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from privllm.train.lightning_module import Training
from privllm.train.loop import Work, train
from privllm.train.parallel import RANK
from tests.train.test_pretrain_objectives import objective_of
from tests.train.tiny_corpus import Corpus

STEPS = 12


def die(rank: int, step: int) -> None:
    begin = Training.on_train_batch_start

    def dying(self: Training, batch: Any, index: int) -> None:
        if self.global_step == step and int(os.environ.get(RANK, "0")) == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        begin(self, batch, index)

    Training.on_train_batch_start = dying  # type: ignore[method-assign]


def main(corpus: str, place: str, processes: str, family: str = "causal", *death: str) -> None:
    if death:
        die(int(death[0]), int(death[1]))
    folder, root = Path(corpus), Path(place)
    made = Corpus(folder / "pack", folder / "tokenizer", folder / "guide", folder / "start")
    objective = objective_of(family, made, validate_every=4)
    for module in objective.model.modules():  # processes draw dropout of their own
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    work = Work(root / "work", "code", 0.0, processes=int(processes))
    train(objective, objective.cfg, STEPS, root / "live", work, "key")
    save_file({name: value.clone() for name, value in objective.model.state_dict().items()}, root / "model.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
