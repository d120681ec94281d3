"""The `pretrain` stage: packed rows in, a causal language model out.

    rows/{train,validation}/*.arrow, tokenizer/tokenizer.json -> out/{config.json, model.safetensors, training.json}, live/

A run that was killed goes on from its last checkpoint and ends in the same bytes as one that was not; on another
machine, or with another number of threads, the bytes may differ. It evaluates nothing beyond the held-out loss.
"""

import json
import logging
import math
import shutil
import signal
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
import transformers

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.seed import digest, name_digest
from privllm.model.causal import build_causal, vocabulary_size
from privllm.tokens.rows import open_rows
from privllm.train.checkpoint import KeepLatest, SafeCheckpointIO, resumable
from privllm.train.compiling import prepare_compiler
from privllm.train.config import PretrainConfig
from privllm.train.data import PackedData
from privllm.train.history import History
from privllm.train.module import CausalTraining
from privllm.train.progress import ShowProgress
from privllm.train.schedule import plan


class Work(NamedTuple):
    """Where a run in flight keeps its checkpoint, and the fingerprint of the code that may go on from it."""

    folder: Path
    code: str


def pretrain(cfg: PretrainConfig, rows: Path, tokenizer: Path, out: Path, live: Path, work: Work) -> dict[str, Any]:
    """Train, write `out` (Hugging Face's format) and `live` (DVCLive's), return the report.

    Raises UserError for an empty split, a tokenizer that is not ours, or a loss that is no longer a number.
    """
    data = _open_data(cfg, rows)
    compiled = prepare_compiler(cfg.compile, work.folder.parent / "compiled")
    module = _module(cfg, vocabulary_size(tokenizer), data, compiled)
    key = _key(cfg, [rows / "train", rows / "validation", tokenizer], work.code, compiled)
    history = History(live)
    trainer = make_trainer(
        cfg, module.schedule.end, SafeCheckpointIO(key), [history, KeepLatest(work.folder, cfg.checkpoint_every), ShowProgress(history)]
    )
    fit(trainer, module, data, resumable(work.folder, key))
    report = _report(cfg, module, history, len(data.train))
    _save(module, {"config": asdict(cfg), "compiled": compiled, **report}, out)
    shutil.rmtree(work.folder, ignore_errors=True)
    return report


def make_trainer(cfg: PretrainConfig, steps: int, checkpoints: SafeCheckpointIO, callbacks: list[lightning.Callback]) -> lightning.Trainer:
    """A Lightning trainer that writes nothing of its own accord."""
    cuda = torch.cuda.is_available()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return lightning.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=1,
        precision="bf16-mixed" if cfg.precision == "bf16" or (cuda and cfg.precision == "auto") else "32-true",
        max_steps=steps,
        max_epochs=-1,
        gradient_clip_val=cfg.clip,
        deterministic=True,
        plugins=[checkpoints],
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


def fit(trainer: lightning.Trainer, module: CausalTraining, data: PackedData, checkpoint: Path | None) -> None:
    """`trainer.fit`, from `checkpoint` if there is one.

    Raises KeyboardInterrupt on Ctrl-C and on SIGTERM, of which Lightning makes a SystemExit (the latter with code 0).
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, handler)


def _open_data(cfg: PretrainConfig, rows: Path) -> PackedData:
    splits = {name: open_rows(rows / name) for name in ("train", "validation")}
    for name, split in splits.items():
        if len(split) == 0:
            raise UserError(
                f"{rows / name} holds no rows: the corpus is too small for its split; add documents, or raise `split` in params.yaml."
            )
    return PackedData(splits["train"], splits["validation"], cfg.batch_size, cfg.seed)


def _module(cfg: PretrainConfig, vocabulary: int, data: PackedData, compiled: bool) -> CausalTraining:
    context = data.train.row_length - 1
    steps = math.ceil(cfg.max_tokens / (cfg.batch_size * context))
    model = build_causal(cfg.model, vocabulary, context, cfg.seed)
    return CausalTraining(model, cfg, plan(steps, cfg.warmup_steps, cfg.decay_fraction), compiled)


def _key(cfg: PretrainConfig, inputs: list[Path], code: str, compiled: bool) -> str:
    """What must be equal for a checkpoint to be this run's own, the arithmetic's circumstances included."""
    files = sorted(path for folder in inputs for path in folder.rglob("*") if path.is_file())
    contents = [f"{path.name} {digest(path.read_bytes())}" for path in files]
    place = f"{torch.__version__} {torch.get_num_threads()} {torch.cuda.is_available()} {compiled}"
    return name_digest(json.dumps(asdict(cfg), sort_keys=True), code, place, *contents)


def _report(cfg: PretrainConfig, module: CausalTraining, history: History, rows: int) -> dict[str, Any]:
    validation = history.latest("validation/loss")
    return {
        "parameters": sum(parameter.numel() for parameter in module.model.parameters()),
        "steps": module.schedule.end,
        "tokens": history.tokens,
        "epochs": round(module.schedule.end * cfg.batch_size / rows, 4),
        "train_loss": round(history.latest("train/loss"), 6),
        "validation_loss": round(validation, 6),
        "validation_perplexity": round(math.exp(min(validation, 700.0)), 4),
        "stopped_by": history.stopped_by,
    }


def _save(module: CausalTraining, facts: dict[str, Any], out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    transformers.utils.logging.disable_progress_bar()
    module.cpu().model.save_pretrained(out)
    write_json(out / "training.json", facts)
