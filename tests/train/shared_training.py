"""A training that several processes share: `python -m tests.train.shared_training CORPUS PLACE NAME=VALUE ...`.

It leaves the weights in PLACE/model.safetensors and the curve in PLACE/live. Names are those of `Wanted`.
"""

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from privllm.core.special_tokens import own_ids
from privllm.models.device_config import DevicesConfig, use
from privllm.tokens.token_bytes import token_bytes
from privllm.train import checkpoint
from privllm.train.adapter_config import AdapterConfig
from privllm.train.launch import RANK
from privllm.train.lightning_module import Training
from privllm.train.loop import Work, train
from privllm.train.lora import adapt, merge
from privllm.train.spelling_parts import SpellingParts
from tests.train.test_pretrain_objectives import objective_of
from tests.train.tiny_corpus import VOCABULARY, Corpus

STEPS = 12


class Wanted(NamedTuple):
    """What to train, and who dies when."""

    processes: str = "1"
    strategy: str = "auto"
    family: str = "causal"
    optimizer: str = "muon"
    weights: str = "32"
    precision: str = "32"
    recompute: str = "auto"
    positions: str = "0"  # at once
    rank: str = "0"  # of adapters
    compiled: str = ""  # the backend
    dies: str = ""  # a process, ":", and the step at whose beginning it kills itself
    dies_saving: str = ""  # a process, ":", and which of the files that it writes it has just begun
    seconds: str = "0"  # between two checkpoints
    stopped: str = ""  # a process, ":", and the step at whose beginning SIGTERM comes to it


def is_rank(number: str) -> bool:
    return int(os.environ.get("RANK", os.environ.get(RANK, "0"))) == int(number)


def struck(rank: str, step: str, sign: signal.Signals, section: str = "") -> None:
    begin = Training.on_train_batch_start

    def dying(self: Training, batch: Any, index: int) -> None:
        if self.global_step == int(step) and is_rank(rank) and section in self.objective.section:
            os.kill(os.getpid(), sign)
        begin(self, batch, index)

    Training.on_train_batch_start = dying  # type: ignore[method-assign]


def dies_saving(rank: str, file: str) -> None:
    sync, written = checkpoint.sync, [0]

    def dying(path: Path) -> None:
        written[0] += 1
        if written[0] == int(file) and is_rank(rank):
            os.kill(os.getpid(), signal.SIGKILL)
        sync(path)

    checkpoint.sync = dying


def main(corpus: str, place: str, *words: str) -> None:
    wanted = Wanted(**dict(word.split("=") for word in words))
    if wanted.dies:
        struck(*wanted.dies.split(":"), sign=signal.SIGKILL)
    if wanted.stopped:
        struck(*wanted.stopped.split(":"), sign=signal.SIGTERM)
    if wanted.dies_saving:
        dies_saving(*wanted.dies_saving.split(":"))
    use(DevicesConfig(devices=int(wanted.processes), strategy=wanted.strategy))
    folder, root = Path(corpus), Path(place)
    made = Corpus(folder / "pack", folder / "tokenizer", folder / "guide", folder / "start")
    changes = {name: getattr(wanted, name) for name in ("optimizer", "weights", "precision")}
    changes["positions_at_once"] = int(wanted.positions)
    objective = objective_of(wanted.family, made, validate_every=4, **changes)
    for module in objective.model.modules():  # processes draw dropout of their own
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    if wanted.compiled:
        torch.compile = functools.partial(torch.compile, backend=wanted.compiled)  # type: ignore[assignment]
        objective.compile()
    if wanted.rank == "0":
        tokenizer = (made.tokenizer / "tokenizer.json").read_text("utf-8")
        tokens = objective.model.get_input_embeddings().num_embeddings
        objective.spelling_parts = SpellingParts(token_bytes(tokenizer), tokens, own_ids(VOCABULARY).special)
    adapters = adapt(objective.model, AdapterConfig(rank=int(wanted.rank)), 0) if wanted.rank != "0" else None
    work = Work(
        root / "work", "code", float(wanted.seconds), recompute=wanted.recompute, processes=int(wanted.processes)
    )
    train(objective, objective.cfg, STEPS, root / "live", work, "key")
    model = merge(adapters) if adapters else objective.model
    save_file({name: value.clone() for name, value in model.state_dict().items()}, root / "model.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
