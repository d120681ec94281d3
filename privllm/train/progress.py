"""What a person sees while training: a bar on a terminal; elsewhere a line at once, one now and then, and one per validation.

All of it goes to stderr.
"""

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from privllm.core.printable import say
from privllm.core.progress import Clock, Lines
from privllm.train.loss_history import History


class ShowProgress(Callback):
    def __init__(self, history: History, clock: Clock = time.monotonic) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps {task.fields[facts]}"),
            TimeRemainingColumn(),
        )
        self.terminal = console.is_terminal
        self.history = history
        self.clock = clock
        self.bar = Progress(*columns, console=console, transient=True, disable=not self.terminal)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        step, section = trainer.global_step, module.objective.section
        self.task = self.bar.add_task(section, total=module.schedule.end, completed=step, facts="")
        self.first_step = step
        self.tokens_before = self.history.tokens
        self.shown = len(self.history.points)
        self.lines = Lines(first=0.0, clock=self.clock)  # the first step already says how long the rest will take
        verb = "goes on from" if step else "begins at"
        self._say(f"{section}: {verb} step {step}/{module.schedule.end}")
        self.bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        step, end = trainer.global_step, module.schedule.end
        tokens = self.history.tokens - self.tokens_before
        seconds = max(1e-9, self.clock() - self.lines.begun)
        facts = f"loss {self.history.last_loss:.3f}, {tokens / seconds:,.0f} tokens/s"
        self.bar.update(self.task, total=end, completed=step, facts=facts)
        validations = self._new_validations()
        if self.lines.due() or validations:
            held_out = "".join(validations)
            time_left = self.lines.left(step - self.first_step, end - self.first_step)
            self._say(f"{module.objective.section}: step {step}/{end}{held_out}, {facts}, {time_left}")

    def _new_validations(self) -> list[str]:
        """Return the held-out losses that were not shown yet, as text."""
        new_points = self.history.points[self.shown :]
        self.shown = len(self.history.points)
        return [f", held-out loss {loss:.4f}" for metric, _, loss in new_points if metric == "validation/loss"]

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        self.bar.stop()

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        self.bar.stop()

    def _say(self, line: str) -> None:
        if not self.terminal:
            say(line, err=True)
