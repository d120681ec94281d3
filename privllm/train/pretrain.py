"""The `pretrain` stage of one family: packed rows in, a language model out.

    rows/{train,validation}/*.arrow, guide, tokenizer/tokenizer.json, start -> out/{config.json, model.safetensors, training.json}, live/

It begins with fresh weights, or with those of `start` (see `tokens.base_models`); from the incumbent mostly with rows that are new to it.
It evaluates nothing beyond the held-out loss.
"""

import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from privllm.core.base_model import BASE, DOCUMENTS, INCUMBENT, SCRATCH
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.core.special_tokens import SpecialIds
from privllm.models.base_weights import load_base, note_of, open_start
from privllm.models.device_config import chosen
from privllm.models.loading import build, dtype_of
from privllm.tokens.copied_tokens import open_copied
from privllm.tokens.general_text import general_rows
from privllm.tokens.rows import open_rows
from privllm.tokens.special_ids import special_ids
from privllm.tokens.token_annotations import open_guide
from privllm.tokens.token_bytes import token_bytes
from privllm.tokens.trained_documents import known_rows
from privllm.train.adapter_config import AdapterConfig
from privllm.train.adapter_folder import FOLDER as ADAPTER
from privllm.train.adapter_folder import MATRICES, take_adapter, without_rows, write_adapter
from privllm.train.batches import Kinds, replayed
from privllm.train.budget import budget_warnings, pretraining_steps, rows_of_epoch, steps_between_validations
from privllm.train.chat_files import copy_tokenizer
from privllm.train.compile_support import prepare_compiler
from privllm.train.config import FamilyPretrain, PretrainConfig, TrainConfig
from privllm.train.dropout import RATE, add_dropout
from privllm.train.interpolation import interpolate, weaken
from privllm.train.loop import Trained, Work, key_of, train
from privllm.train.lora import adapt, merge
from privllm.train.loss_history import affordable_interval
from privllm.train.pretrain_objectives import OBJECTIVES, Split
from privllm.train.spelling_parts import SpellingParts

MOST_COPIED = 0.9  # of the validation split's tokens; where more are, what is left is too little to choose weights by
CLEAN, ALL = "clean", "all"  # tokens that the held-out loss is of


class PretrainInputs(NamedTuple):
    """The folders that `pretrain` reads."""

    rows: Path  # data/pack
    guide: Path  # data/guide/<family>
    tokenizer: Path  # data/tokenizer
    start: Path  # data/start/<family>


def pretrain(
    family: str, section: PretrainConfig, inputs: PretrainInputs, out: Path, live: Path, work: Work
) -> dict[str, Any]:
    """Train, write `out` (Hugging Face's format) and `live` (`loss_files`), and return the report.

    Raises UserError for an empty split, a tokenizer that is not ours or not the start's, or a loss that is no longer a number.
    """
    cfg = getattr(section, family)
    training = _open(inputs, family, "train")
    validation = _open(inputs, family, "validation")
    copied = open_copied(inputs.rows / "copied")
    copied_share = copied.share_of(validation.rows)
    if copied_share <= MOST_COPIED:
        validation = validation._replace(copied=copied)
    note = note_of(inputs.start)
    start = note["start"]
    adapter = AdapterConfig()
    if BASE.fullmatch(start):
        adapter = cfg.from_base.lora
        cfg = replace(
            cfg,
            optimizer=cfg.from_base.optimizer,
            learning_rate=cfg.from_base.learning_rate,
            epochs=cfg.from_base.epochs,
            replay=cfg.from_base.replay,
        )
    if start == INCUMBENT:
        is_known = known_rows(training.rows, inputs.rows, inputs.start / DOCUMENTS)
        kinds = Kinds(known=np.flatnonzero(is_known), new=np.flatnonzero(~is_known))
        training = training._replace(kinds=kinds)
    context = training.rows.row_length - 1
    special = special_ids(inputs.tokenizer)
    if BASE.fullmatch(start):
        training = _with_general_text(training, inputs.start, special)
    model = _model(family, cfg, inputs, context, special, note)
    spelling = token_bytes((inputs.tokenizer / "tokenizer.json").read_text("utf-8"))
    objective = OBJECTIVES[family](model, cfg, training, validation, special, spelling)
    objective.started = start != SCRATCH
    if start == SCRATCH:
        table = model.get_input_embeddings().weight
        objective.spelling_parts = SpellingParts(spelling, len(table), special.special)  # type: ignore[arg-type]
    adapters = adapt(model, adapter, cfg.seed, note["added"]) if adapter.rank else None
    add_dropout(model, family, cfg.model.dropout)
    compiled = prepare_compiler(cfg.compile, work.folder.parent)
    if compiled:
        objective.compile()
    files = [
        inputs.rows / "train",
        inputs.rows / "validation",
        inputs.rows / "documents",
        inputs.rows / "copied",
        inputs.guide,
        inputs.tokenizer,
        inputs.start,
    ]
    rows_read = _rows_of_epoch(cfg, training)
    steps = pretraining_steps(cfg.epochs, rows_read, cfg.batch_size)
    warnings = budget_warnings(cfg.epochs, rows_read * context, from_scratch=start == SCRATCH)
    for warning in warnings:
        say(f"note: pretrain.{family}: {warning}", err=True)
    key = key_of(cfg, files, work.code, compiled)
    interval = steps_between_validations(affordable_interval(objective), steps, rows_read // cfg.batch_size)
    loop_cfg = replace(cfg, validate_every=cfg.validate_every or interval)
    work = work._replace(processes=_processes(family, cfg))
    trained = train(objective, loop_cfg, steps, live, work, key)
    own_part = None
    if adapters is not None:
        weaken(adapters, cfg.from_base.strength)
        own_part = take_adapter(adapters, start, family)
        model = merge(adapters)
    elif BASE.fullmatch(start) and cfg.from_base.strength < 1:
        base = load_base(family, inputs.start, special, context)
        interpolate(model, base, cfg.from_base.strength, note["added"])
    report = _report(cfg, model, trained, rows_read) | _start_report(start, cfg, trained, training.kinds)
    report |= {
        "warnings": warnings,
        "validation_on": ALL if validation.copied is None else CLEAN,
        "validation_copied": round(copied_share, 6),
    }
    report["lora"] = adapter.rank
    facts = {"config": _used(start, cfg), RATE: cfg.model.dropout, "compiled": compiled, "chat": note["chat"], **report}
    save(model, facts, out, dtype_of(inputs.start))
    copy_tokenizer(inputs.tokenizer, out, family)
    if own_part is not None:
        write_adapter(own_part, out / ADAPTER)
        if all(near is None for near in note["added"].values()):  # nothing but bytes; marks begin near another token
            write_adapter(without_rows(own_part), out / ADAPTER / MATRICES)
    shutil.rmtree(work.folder, ignore_errors=True)
    return report


def _processes(family: str, cfg: FamilyPretrain) -> int:
    """Return how many processes share each step. Raises UserError where it has fewer rows."""
    processes = chosen().processes
    if processes > cfg.batch_size:
        raise UserError(
            f"a step of `pretrain.{family}` has {cfg.batch_size} rows, too few for {processes} processes: "
            "raise `batch_size`, or lower `train.devices` or `train.nodes`, in params.yaml."
        )
    return processes


def _with_general_text(training: Split, start: Path, special: SpecialIds) -> Split:
    """Return the rows with those of general text behind them, as rows that the base model knows."""
    general = general_rows(start, training.rows.row_length - 1, special)
    if general is None:
        return training
    documents = len(training.rows)
    kinds = Kinds(known=np.arange(documents, documents + len(general)), new=np.arange(documents))
    return training._replace(rows=training.rows.followed_by(general), kinds=kinds)


def _rows_of_epoch(cfg: FamilyPretrain, training: Split) -> int:
    """Return how many rows are an epoch: all, or the new ones and the known ones that are replayed beside them."""
    if training.kinds is None:
        return len(training.rows)
    return rows_of_epoch(len(training.kinds.known), len(training.kinds.new), cfg.replay)


def _model(
    family: str, cfg: Any, inputs: PretrainInputs, context: int, special: SpecialIds, note: dict[str, Any]
) -> PreTrainedModel:
    """Return a fresh model, or the base model."""
    start = note["start"]
    if start == SCRATCH:
        return build(family, cfg.model, special, context, cfg.seed)
    if (inputs.start / "tokenizer.json").read_bytes() != (inputs.tokenizer / "tokenizer.json").read_bytes():
        raise UserError(
            f"`base` in params.yaml names {start} for {family}, but the corpus was packed with another tokenizer than that model's: "
            "a build has one vocabulary, so families that begin elsewhere must begin from scratch."
        )
    say(f"note: pretrain.{family} starts from {start}; of pretrain.{family}.model only dropout is used.", err=True)
    return open_start(family, inputs.start, cfg.model, special, context, note["added"])


def _used(start: str, cfg: FamilyPretrain) -> dict[str, Any]:
    """Return the configuration, without the architecture where that came from elsewhere."""
    used = asdict(cfg)
    if start != SCRATCH:
        del used["model"]
    return used


def _start_report(start: str, cfg: FamilyPretrain, trained: Trained, kinds: Kinds | None) -> dict[str, Any]:
    """Return where training began: the held-out loss before the first step, and the share of replayed rows."""
    if start == SCRATCH:
        return {"start": SCRATCH}
    start_loss = trained.history.first("validation/loss")
    report: dict[str, Any] = {"start": start, "start_loss": round(start_loss, 6)}
    if kinds is not None:
        batches = [replayed(cfg.seed, step, cfg.batch_size, kinds, cfg.replay).rows for step in range(trained.steps)]
        rows_read = np.concatenate(batches)
        share = float(np.isin(rows_read, kinds.known).mean())
        report |= {"rows_known": len(kinds.known), "rows_new": len(kinds.new), "replayed": round(share, 6)}
    return report


def save(model: PreTrainedModel, facts: dict[str, Any], out: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `out` as a Hugging Face folder, its weights rounded to `dtype`, with the facts in training.json."""
    shutil.rmtree(out, ignore_errors=True)
    transformers.utils.logging.disable_progress_bar()
    model.to(dtype).save_pretrained(out)  # type: ignore[arg-type]
    write_json(out / "training.json", facts)


def _open(inputs: PretrainInputs, family: str, split: str) -> Split:
    rows = open_rows(inputs.rows / split)
    if len(rows) == 0:
        raise UserError(
            f"{inputs.rows / split} holds no rows: the corpus is too small for its split; add documents, or raise `split` in params.yaml."
        )
    guide = open_guide(inputs.guide / split) if TRAITS[family].wants_annotations else None
    assert guide is None or len(guide) == len(rows), "the guide is of other rows"
    return Split(rows, guide)


def _report(cfg: TrainConfig, model: PreTrainedModel, trained: Trained, rows_of_epoch: int) -> dict[str, Any]:
    history = trained.history
    validation = trained.validation_loss
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": trained.steps,
        "tokens": history.tokens,
        "labels": history.labels,
        "epochs": round(trained.steps * cfg.batch_size / rows_of_epoch, 4),
        "train_loss": round(history.latest("train/loss"), 6),
        "validation_loss": round(validation, 6),
        "validation_perplexity": round(math.exp(min(validation, 700.0)), 4),
        "best_step": trained.best_step,
        "stopped_by": history.stopped_by,
    }
