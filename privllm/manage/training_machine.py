"""What trainings here run on, and how much memory it has: the first GPU that torch can use, or the machine. It imports no torch."""

from typing import NamedTuple

from privllm.manage.doctor.libraries import probe_torch
from privllm.manage.doctor.machine import memory_of_machine
from privllm.manage.doctor.report import GPU_SIGNS


class TrainingMachine(NamedTuple):
    """What trainings run on."""

    name: str
    bytes: int  # of memory; 0 where the system does not say
    is_gpu: bool


def training_machine(accelerator: str) -> TrainingMachine:
    """Return what `train.accelerator` finds here."""
    if accelerator != "cpu" and any(sign.exists() for sign in GPU_SIGNS):
        gpus = probe_torch().get("gpus") or []
        if gpus:
            return TrainingMachine(f"this card ({gpus[0]['name']})", gpus[0]["bytes"], True)
    _, total = memory_of_machine()
    return TrainingMachine("this machine", total, False)
