"""What a person sees while training: a bar on a terminal, a line per validation elsewhere. All of it on stderr."""

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from privllm.core.printable import say
from privllm.train.history import History


class ShowProgress(Callback):
    def __init__(self, history: History) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps {task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        self.terminal, self.history, self.shown = console.is_terminal, history, 0
        self.bar = Progress(*columns, console=console, transient=True, disable=not self.terminal)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.task = self.bar.add_task(module.objective.section, total=module.schedule.end, completed=trainer.global_step, facts="")
        self.shown, self.started, self.before = len(self.history.points), time.perf_counter(), self.history.tokens
        self.bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        speed = (self.history.tokens - self.before) / (time.perf_counter() - self.started)
        facts = f"loss {float(outputs['loss']):.3f}, {speed:,.0f} tokens/s"
        self.bar.update(self.task, total=module.schedule.end, completed=trainer.global_step, facts=facts)
        for metric, step, value in self.history.points[self.shown :]:
            if metric == "validation/loss" and not self.terminal:
                say(f"{module.objective.section}: step {step}/{module.schedule.end}, held-out loss {value:.4f}, {facts}", err=True)
        self.shown = len(self.history.points)

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        self.bar.stop()

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        self.bar.stop()
