"""A signal at a chosen moment of a chosen step of a training in this process, and where trainings began."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from privllm.train import loss_history
from privllm.train.checkpoint import SafeCheckpointIO
from privllm.train.lightning_module import Training
from privllm.train.loss_history import History
from privllm.train.muon import Muon

BETWEEN = ("forward", "backward")  # moments of a step that is then abandoned
WITHIN = (
    "update",
    "recorded",
    "measured",
    "taken",
)  # moments after which the step stays: the last two are of its held-out loss


def strike_at(
    moment: str, step: int, patch: pytest.MonkeyPatch, section: str = "", number: signal.Signals = signal.SIGTERM
) -> Callable[[], bool]:
    """The signal comes once, at the moment of `step` (from 1) in a training whose section ends in `section`; returns whether it came."""
    now, struck = [0], [False]

    def strike(name: str) -> None:
        if name == moment and now[0] == step and not struck[0]:
            struck[0] = True
            os.kill(os.getpid(), number)

    def before(owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)
        patch.setattr(owner, name, lambda *args, **more: (strike(what), original(*args, **more))[1])

    def after(owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)
        patch.setattr(owner, name, lambda *args, **more: (original(*args, **more), strike(what))[0])

    begin, forward = Training.on_train_batch_start, Training.training_step

    def counted(self: Training, batch: Any, index: int) -> None:
        now[0] = self.global_step + 1 if self.objective.section.endswith(section) else 0
        begin(self, batch, index)

    def followed(self: Training, batch: Any, index: int) -> Any:
        strike("forward")
        loss = forward(self, batch, index)
        loss.register_hook(lambda _: strike("backward"))
        return loss

    patch.setattr(Training, "on_train_batch_start", counted)
    patch.setattr(Training, "training_step", followed)
    before(Muon, "_muon", "update")  # AdamW's part is done, Muon's is not
    after(History, "on_train_batch_end", "recorded")
    after(loss_history, "held_out_loss", "measured")
    after(loss_history.Validate, "_take", "taken")
    before(SafeCheckpointIO, "save_checkpoint", "saved")
    return lambda: struck[0]


def starts(patch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(section, step) of each training that begins from now on."""
    begun: list[tuple[str, int]] = []
    start = History.on_train_start

    def begin(self: History, trainer: Any, module: Any) -> None:
        begun.append((module.objective.section, trainer.global_step))
        start(self, trainer, module)

    patch.setattr(History, "on_train_start", begin)
    return begun
