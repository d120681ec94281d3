"""What `privllm plan` says of trainings that their stages would refuse, after all stages before them: settings that contradict each other
or the machine."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from privllm.core.params import read_params
from privllm.models.device_config import DevicesConfig
from privllm.parameters.memory_needs import Machine, settings_of


def refusals(stages: Iterable[str], machine: Machine) -> list[str]:
    """Return a line for each of the trainings `stages` that will not start, and why."""
    notes = []
    for stage in stages:
        with suppress(KeyError, TypeError, OSError, ValueError):  # the stage itself says what is wrong
            notes += [f"refused: {stage} will not start: {reason}." for reason in _reasons(stage, machine)]
    return notes


def _reasons(stage: str, machine: Machine) -> Iterator[str]:
    devices = read_params("train", DevicesConfig)
    if devices.accelerator == "cuda" and not machine.is_gpu:
        yield "`train.accelerator` is cuda, and torch finds no GPU here"
    settings = settings_of(stage)
    cfg: Any = settings.cfg
    if not settings.rank and cfg.weights == "nf4":
        yield "`weights: nf4` is for weights that do not learn, and all do"
    if not settings.rank and cfg.weights == "bf16" and getattr(cfg, "optimizer", "adamw") != "adamw8":
        yield "`weights: bf16` needs `optimizer: adamw8`, since others round the updates away"
    if stage.startswith("pretrain@") and devices.processes > cfg.batch_size:
        yield f"a step has {cfg.batch_size} rows, too few for {devices.processes} processes (`train.devices` x `train.nodes`)"
