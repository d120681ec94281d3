"""The one training loop, of pretraining and of fine-tuning: an objective in, its model trained.

A run that was killed goes on from its last checkpoint and ends in the same bytes as one that was not; on another
machine, or with another number of threads, the bytes may differ.
"""

import json
import logging
import math
import signal
import tempfile
import warnings
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from lightning.fabric.plugins.environments import LightningEnvironment

from privllm.core.errors import UserError
from privllm.core.printable import say
from privllm.core.seed import name_digest
from privllm.engine.digests import digest_of_file
from privllm.engine.interrupt import SIGNALS, Terminated
from privllm.models.devices import arithmetic, is_deterministic, is_mixed, on_gpu
from privllm.models.lean_blocks import lean_blocks
from privllm.models.small_weights import FP32, NF4, Nf4Linear, grown, shrink
from privllm.train.checkpoint import NAME, BestWeights, KeepLatest, SafeCheckpointIO, resumable
from privllm.train.config import TrainConfig
from privllm.train.launch import local_rank
from privllm.train.lightning_module import Training
from privllm.train.loss_history import History, Validate
from privllm.train.objective import Objective
from privllm.train.parallel import Group, first_says, joined, wait_for_all
from privllm.train.progress import ShowProgress
from privllm.train.recompute import AUTO, Recompute, positions_at_once
from privllm.train.schedule import plan
from privllm.train.sharding import (
    DDP,
    Whole,
    card_bytes,
    copied,
    cut_up,
    leave_mesh,
    own_mesh,
    put_together,
    shape_and_way,
    strategy_for,
)
from privllm.train.step_parts import Stream


class Work(NamedTuple):
    """Where a run in flight keeps its checkpoint, and the fingerprint of the code that may go on from it."""

    folder: Path
    code: str
    seconds: float = math.inf  # of training between two checkpoints, beside the one after the last step
    workers: int = 0  # processes that make batches ahead
    recompute: str = AUTO  # whether activations are computed again, see `recompute`
    processes: int = 1  # that share each step, see `parallel`


class Trained(NamedTuple):
    """What a training came to; the model has the weights that were kept."""

    history: History
    steps: int
    best_step: int  # after which it had the weights that are kept
    validation_loss: float  # of these, on the whole validation split


def train(objective: Objective, cfg: TrainConfig, steps: int, live: Path, work: Work, key: str) -> Trained:
    """Train `objective.model` in place for at most `steps`; losses go to `live` (`loss_files`).

    A checkpoint in `work.folder` is gone on from if its run had the same `key` (see `key_of`); whoever saves the result removes it.
    Raises UserError for a loss that is no longer a number, KeyboardInterrupt, which says what is saved, when it was asked to stop.
    """
    with joined(work.processes) as processes:
        return _train(objective, cfg, steps, live, work, key, processes)


def _train(
    objective: Objective, cfg: TrainConfig, steps: int, live: Path, work: Work, key: str, processes: Group
) -> Trained:
    at_once = positions_at_once(objective.model, is_mixed(cfg.precision))
    objective.positions_at_once = cfg.positions_at_once or at_once
    objective.processes = processes.size
    shrink(objective.model, cfg.weights)
    _require_lossless_updates(objective, cfg)
    model = objective.model
    whole = _cut_up(objective, cfg, processes)
    recompute = Recompute(objective.model, work.recompute, at_once)
    module = Training(objective, cfg, plan(steps, cfg.warmup_steps, cfg.decay_fraction), recompute, whole)
    module.train()  # all of it, for a model that was loaded is in eval mode until its first validation
    history = History(live if processes.writes else Path(tempfile.mkdtemp()))
    keep = KeepLatest(work.folder, work.seconds, together=whole is not None)
    files = SafeCheckpointIO(key, own_mesh() if whole else None)
    validate = Validate(history, BestWeights(work.folder, files))
    callbacks = [history, keep, validate, *([ShowProgress(history)] if processes.writes else [])]
    trainer = make_trainer(cfg, files, callbacks)
    is_plain = cfg.weights == FP32 and not is_mixed(cfg.precision) and not on_gpu()
    (goes_on,) = first_says([int(resumable(work.folder, key) is not None)])
    try:
        with lean_blocks(objective.model) if is_plain else nullcontext():
            fit(trainer, module, work.folder / NAME if goes_on else None, work.workers)
    except KeyboardInterrupt as interrupt:
        saved = [f"step {keep.saved_step} of {module.schedule.end} is saved"] if keep.saved_step else []
        raise type(interrupt)(*saved) from None
    recompute.set(False)
    if whole is not None:
        put_together(objective.model, model)
        leave_mesh()
        objective.use(model)
    module.cpu()
    grown(model)
    wait_for_all()  # none still reads what the first may remove now
    return Trained(history, module.schedule.end, validate.kept_step, validate.kept_loss)


def _cut_up(objective: Objective, cfg: TrainConfig, processes: Group) -> Whole | None:
    """Give the objective a share of its model, where the processes of this training do not hold all of it each."""
    if processes.size == 1:
        return None
    shape, way = shape_and_way(objective.model, cfg.weights, cfg.optimizer, is_mixed(cfg.precision))
    rows, length = objective.batch(0)[0].shape
    if strategy_for(shape, way, rows, length, card_bytes()) == DDP:
        return None
    if processes.writes:
        say(
            f"note: {objective.section}: each of {processes.size} processes holds a share of the model (fsdp).",
            err=True,
        )
    whole = cut_up(copied(objective.model), is_mixed(cfg.precision))
    objective.use(whole.model)
    return whole


def _require_lossless_updates(objective: Objective, cfg: TrainConfig) -> None:
    """Raise UserError where weights learn in bf16 by an optimiser that would round their updates away, or nothing is in NF4."""
    if cfg.weights == NF4 and not any(isinstance(module, Nf4Linear) for module in objective.model.modules()):
        raise UserError(
            f"`{objective.section}.weights` in params.yaml is nf4, which is for weights that do not learn, and all do: set it to 32, or "
            "to bf16 with `optimizer: adamw8`. Adapters (`lora.rank` above 0), beside which it can be nf4, need a model to start from."
        )
    learning = [parameter for parameter in objective.model.parameters() if parameter.requires_grad]
    if cfg.optimizer != "adamw8" and any(parameter.dtype == torch.bfloat16 for parameter in learning):
        raise UserError(
            f"`{objective.section}.weights` in params.yaml is {cfg.weights}, in which steps of {cfg.optimizer} would be rounded away: "
            f"set `optimizer` to adamw8, `weights` to 32, or, beside a model to start from, `lora.rank` above 0."
        )


def key_of(cfg: Any, files: list[Path], code: str, compiled: bool) -> str:
    """Return what must be equal for a checkpoint to be this run's own, the arithmetic's circumstances included.

    `cfg` is a dataclass; folders count whole.
    """
    paths: list[Path] = []
    for file in files:
        paths += file.rglob("*") if file.is_dir() else [file]
    contents = [f"{path.name} {digest_of_file(path)}" for path in sorted(paths) if path.is_file()]
    settings = json.dumps(asdict(cfg), sort_keys=True)
    machine = f"{torch.__version__} {torch.get_num_threads()} {arithmetic()} {compiled}"
    return name_digest(settings, code, machine, *contents)


def make_trainer(
    cfg: TrainConfig, checkpoints: SafeCheckpointIO, callbacks: list[lightning.Callback]
) -> lightning.Trainer:
    """Return a Lightning trainer that writes no files by itself, and continues until a callback sets `should_stop`."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return lightning.Trainer(
        accelerator="gpu" if on_gpu() else "cpu",
        devices=[local_rank()] if on_gpu() else 1,
        precision="bf16-mixed" if is_mixed(cfg.precision) else "32-true",
        max_steps=-1,
        max_epochs=-1,
        gradient_clip_val=cfg.clip,
        deterministic=is_deterministic(),
        plugins=[checkpoints, LightningEnvironment()],  # not what it finds of SLURM and torchrun
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


def fit(trainer: lightning.Trainer, module: Training, checkpoint: Path | None, workers: int = 0) -> None:
    """Call `trainer.fit`, from `checkpoint` if there is one.

    Raises KeyboardInterrupt on Ctrl-C, Terminated on SIGTERM; Lightning makes a SystemExit of both.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    batches = Stream(module.objective.step, lambda: trainer.global_step, workers, pin=on_gpu())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as ended:
        if not trainer.interrupted:
            raise
        # Without an interrupt of ours, Lightning's own handler of SIGTERM was there first.
        interrupt = ended.__context__ if isinstance(ended.__context__, KeyboardInterrupt) else Terminated()
        raise interrupt from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
