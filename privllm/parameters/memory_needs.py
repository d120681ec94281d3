"""What `privllm plan` says of memory: how much the trainings that would run need, and what this machine, or its GPU, has.

It is arithmetic on parameters and config.json (`train.memory_need`), an "about". What is not known, such as the shape of a model that
another stage has yet to fetch, is left out.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from privllm.core.base_model import BASE, starts_in
from privllm.core.families import TRAITS
from privllm.core.params import load_sections, read_params
from privllm.engine.executor_ray import ExecutorConfig
from privllm.models.config import inner_width
from privllm.models.device_config import DevicesConfig
from privllm.tokens.pack import PackConfig
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.train.align.config import LONGEST, AlignConfig
from privllm.train.config import FinetuneConfig, PretrainConfig
from privllm.train.memory_need import GIB, Shape, Way, bytes_needed, is_cut, shape_of

TRAINING = ("pretrain", "finetune", "align")  # stages
PAIR = 2  # rows of a lesson that compares two replies


class Settings(NamedTuple):
    """How a stage trains."""

    cfg: Any  # a TrainConfig
    rank: int  # of adapters; 0: all weights learn
    start: Path | None  # the folder of the model that it begins with; None: from scratch


class Machine(Protocol):
    """What trainings run on."""

    @property
    def name(self) -> str: ...

    @property
    def bytes(self) -> int: ...

    @property
    def is_gpu(self) -> bool: ...


def trainings(stages: Iterable[str]) -> list[str]:
    """Return those of `stages` that train a model."""
    return [stage for stage in stages if stage.partition("@")[0] in TRAINING]


def memory_notes(stages: Iterable[str], machine: Machine) -> list[str]:
    """Return a line for the training of `stages` that needs most memory, and one for each that needs more than there is."""
    needs = {}
    for stage in stages:
        with suppress(KeyError, TypeError, OSError, ValueError):  # the stage itself says what is wrong
            need = _need_of(stage, machine)
            if need:
                needs[stage] = need
    if not needs or not machine.bytes:
        return []
    most = max(needs, key=needs.__getitem__)
    devices = read_params("train", DevicesConfig)
    each = f" on each of {devices.processes} cards" if machine.is_gpu and devices.processes > 1 else ""
    notes = [
        f"memory: {most} needs about {needs[most] / GIB:.1f} GiB{each}, {machine.name} has {machine.bytes / GIB:.0f}."
    ]
    for stage, need in needs.items():
        if need > machine.bytes:
            notes.append(
                f"memory: {stage} needs more than {machine.name} has ({need / GIB:.1f} GiB): lower its `positions_at_once` or "
                "`batch_size`, set `lora.rank` above 0 with `weights: nf4`, share it among more cards (`train.devices`), or take a smaller "
                "model; docs/explain/training.md."
            )
    return notes


def settings_of(stage: str) -> Settings:
    """Return how a stage that trains would do it. Raises KeyError for one that does not."""
    kind, _, item = stage.partition("@")
    if kind == "pretrain":
        cfg = getattr(read_params("pretrain", PretrainConfig), item)
        start = starts_in(load_sections(), list(TRAITS))[item].place
        if not BASE.fullmatch(start):
            return Settings(cfg, 0, None)
        cfg.optimizer = cfg.from_base.optimizer
        return Settings(cfg, cfg.from_base.lora.rank, Path(start))
    if kind == "finetune":
        task = read_params("finetune.defaults", FinetuneConfig, over=f"finetune.tasks.{item}")
        return Settings(task, task.lora.rank, Path(task.start))
    if kind == "align" and TRAITS[item].can_converse:
        align = read_params("align", AlignConfig)
        return Settings(align, align.lora.rank, Path("data/pretrain") / item)
    raise KeyError(stage)


def _need_of(stage: str, machine: Machine) -> int:
    kind, _, item = stage.partition("@")
    cfg, rank, start = settings_of(stage)
    if kind == "pretrain":
        shape = _own_shape(item) if start is None else _shape_in(start)
        return _bytes(shape, cfg, rank, cfg.batch_size, read_params("pack", PackConfig).context, machine)
    assert start is not None
    shape, context = _start(start)
    if kind == "finetune":
        return _bytes(shape, cfg, rank, cfg.batch_size, min(cfg.max_length, context), machine)
    return _bytes(shape, cfg, rank, PAIR * cfg.batch_size, min(LONGEST, context), machine)


def _start(folder: Path) -> tuple[Shape | None, int]:
    """Return the shape and the context of the model that a training begins with; of a family that has yet to be trained as it will be."""
    path = folder / "config.json"
    if path.is_file():
        config = json.loads(path.read_text("utf-8"))
        context = config.get("max_position_embeddings") or config.get("n_positions") or LONGEST
        return shape_of(config), int(context)
    if folder.parent == Path("data/pretrain"):
        return _own_shape(folder.name), read_params("pack", PackConfig).context
    return None, LONGEST


def _shape_in(folder: Path) -> Shape | None:
    return shape_of(json.loads((folder / "config.json").read_text("utf-8")))


def _own_shape(family: str) -> Shape | None:
    """Return the shape that params.yaml gives a family's model."""
    model: Any = getattr(read_params("pretrain", PretrainConfig), family).model
    config: Mapping[str, Any] = {
        "num_hidden_layers": getattr(model, "layers", 0) or model.encoder_layers,
        "num_decoder_layers": getattr(model, "decoder_layers", 0),
        "hidden_size": model.width,
        "intermediate_size": inner_width(model.feedforward, model.width),
        "num_attention_heads": model.heads,
        "num_key_value_heads": getattr(model, "kv_heads", 0),
        "vocab_size": read_params("tokenizer", TokenizerConfig).vocabulary,
        "tie_word_embeddings": getattr(model, "tie_embeddings", True),
    }
    return shape_of(config)


def _bytes(shape: Shape | None, cfg: Any, rank: int, rows: int, length: int, machine: Machine) -> int:
    if shape is None:
        return 0
    way = Way(
        weights=cfg.weights,
        optimizer=getattr(cfg, "optimizer", "adamw"),
        rank=rank,
        is_mixed=cfg.precision == "bf16" or (cfg.precision == "auto" and machine.is_gpu),
        on_gpu=machine.is_gpu,
        positions_at_once=cfg.positions_at_once,
        recompute=read_params("executor", ExecutorConfig).recompute,
    )
    devices = read_params("train", DevicesConfig)
    rows = -(-rows // devices.processes)
    need = bytes_needed(shape, way, rows, length)
    card = machine.bytes if machine.is_gpu else 0
    if devices.processes > 1 and is_cut(devices.strategy, way, need, card):
        need = bytes_needed(shape, way._replace(shares=devices.processes), rows, length)
    return (
        need if machine.is_gpu else need * devices.devices
    )  # processes share a machine's memory, and have a card each
