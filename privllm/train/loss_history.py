"""What is known of a training: losses recorded at the end of each step; between two, the held-out loss measured and a plateau noticed.

`loss_files` writes the history. After a resume it is written anew from the checkpoint, so rows that a killed run
wrote beyond it are gone.
"""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from privllm.core.errors import UserError
from privllm.core.progress import bar
from privllm.engine.interrupt import interrupts_held
from privllm.models.devices import judging
from privllm.train.batches import Batch
from privllm.train.checkpoint import BestWeights, learnt_weights, put_weights
from privllm.train.lightning_module import Training
from privllm.train.loss_files import LossFiles, Measurement
from privllm.train.objective import Objective
from privllm.train.parallel import add_up, group, wait_for_all
from privllm.train.step_parts import StepBatch

STATE = (
    "points",
    "pending",
    "owed",
    "best",
    "best_step",
    "since_best",
    "tokens",
    "labels",
    "stopped_by",
)  # what a checkpoint keeps
LOG_EVERY = 10  # steps whose mean training loss is one point of the curve
VALIDATION_SHARE = 0.02  # of the time of training, between the first step and the last
STEP_COST = 3  # of a training step in forward passes: one, and a backward pass that costs twice as much


class History(Callback):
    """Losses by step, the best held-out loss, and whether a plateau ended it early."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.points: list[Measurement] = []
        self.pending: list[float] = []  # training losses since the last point
        self.unread: list[torch.Tensor] = []  # those that are still where the model is: reading one waits for the GPU
        self.step = 0
        self.last_loss = math.nan  # that was read
        self.owed = False  # whether the held-out loss after this step is still to be measured
        self.best = math.inf
        self.best_step = 0
        self.since_best = 0
        self.tokens = 0  # read, padding included
        self.labels = 0  # learnt
        self.stopped_by = "epochs"

    def state_dict(self) -> dict[str, Any]:
        self._read_losses()
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.files = LossFiles(self.folder, self.points)
        self.interval = module.cfg.validate_every or affordable_interval(module.objective)
        self.remedy = (
            f"lower `{module.objective.section}.learning_rate` in params.yaml (now {module.cfg.learning_rate})"
        )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: StepBatch, _: int
    ) -> None:
        step = self.step = trainer.global_step
        self.labels += batch.labels
        self.tokens += batch.positions
        self.unread.append(module.step_loss)
        is_last = step >= module.schedule.end
        is_point = is_last or step % LOG_EVERY == 0
        if is_point or step % self.interval == 0 or math.isnan(self.last_loss):
            self._read_losses()
        if is_point:
            mean_loss = sum(self.pending) / len(self.pending)
            self.record("train/loss", step, mean_loss)
            self.pending = []
        self.owed = is_last or step % self.interval == 0

    def _read_losses(self) -> None:
        """Take the losses of the steps since the last reading. Raises UserError for one that is not a number."""
        if not self.unread:
            return
        losses = torch.stack(self.unread).tolist()
        self.unread = []
        for step, loss in enumerate(losses, start=self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise UserError(f"the training loss is not a number at step {step}: {self.remedy}.")
        self.pending += losses
        self.last_loss = losses[-1]

    def first(self, name: str) -> float:
        return self._values_of(name)[0]

    def latest(self, name: str) -> float:
        return self._values_of(name)[-1]

    def _values_of(self, name: str) -> list[float]:
        return [value for metric, _, value in self.points if metric == name]

    def record(self, name: str, step: int, value: float) -> None:
        self.points.append((name, step, value))
        self.files.add(name, step, value)


class Validate(Callback):
    """Measures the held-out loss where it is owed, ends the training, and keeps the better of its best and its last weights.

    It comes after `KeepLatest`: what it does can be done again.
    """

    def __init__(self, history: History, best_weights: BestWeights) -> None:
        self.history = history
        self.best_weights = best_weights
        self.kept_step = 0  # after which the model has the weights that are kept
        self.kept_loss = math.inf  # held-out, on the whole validation split

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        if module.objective.started and not self.history.points:
            loss = held_out_loss(module, shown=True)
            self.history.record("validation/loss", 0, loss)  # no best yet: warming up again raises the loss first
        self._settle(trainer, module)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        self._settle(trainer, module)

    def _settle(self, trainer: lightning.Trainer, module: Training) -> None:
        step, history = trainer.global_step, self.history
        if history.owed:
            loss = held_out_loss(module)
            with interrupts_held():  # all of it is in a checkpoint, or nothing
                self._take(trainer.optimizers[0], module, step, loss)
                history.owed = False
        trainer.should_stop = step >= module.schedule.end

    def _take(self, optimizer: torch.optim.Optimizer, module: Training, step: int, loss: float) -> None:
        history = self.history
        is_better = loss < history.best - module.cfg.min_delta
        is_plateau = (
            not is_better and history.since_best + 1 >= module.cfg.patience and step < module.schedule.decay_from
        )
        if is_plateau:
            wait_for_all()  # for the file of the best weights; where another process is gone, nothing was taken yet
        history.record("validation/loss", step, loss)
        if is_better:
            history.best, history.best_step = loss, step
            history.since_best = 0
            if step < module.schedule.end:  # else they are the last, too
                self.best_weights.save(module.model, optimizer)
        else:
            history.since_best += 1
        if is_plateau:
            self.best_weights.restore(module.model, optimizer)
            module.schedule = module.schedule.decay_now(step, history.best_step)
            history.stopped_by = "plateau"

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Keep the best weights where the last ones are worse on the whole validation split."""
        history = self.history
        self.kept_step = trainer.global_step
        self.kept_loss = whole_split_loss(module, history.latest("validation/loss"))
        if history.best_step in (0, trainer.global_step):
            return
        wait_for_all()  # for the file of the best weights
        last_weights = {name: weight.clone() for name, weight in learnt_weights(module.model).items()}
        self.best_weights.restore(module.model)
        best_loss = whole_split_loss(module, history.best)
        if best_loss < self.kept_loss:
            self.kept_step, self.kept_loss = history.best_step, best_loss
        else:
            put_weights(module.model, last_weights)


def affordable_interval(objective: Objective) -> int:
    """Return the steps between two validations that keep them at VALIDATION_SHARE of the training.

    It is a function of the number of held-out batches, which are as large as a step's: no clock decides what is trained.
    """
    forward_passes = sum(1 for _ in objective.held_out())
    return max(1, math.ceil(forward_passes / (STEP_COST * VALIDATION_SHARE)))


def held_out_loss(module: Training, shown: bool = False) -> float:
    """Return the mean nats per label of the sample of the validation split; `shown` with a bar of its own."""
    nats, labels = _held_out_nats(module, list(module.objective.held_out()), shown)
    return nats / max(1, labels)


def whole_split_loss(module: Training, sample_loss: float) -> float:
    """Return the mean nats per label of the whole validation split, of which the sample's was measured: only the rest is computed."""
    in_sample = sum(module.objective.labels(batch) for batch in module.objective.held_out())
    nats, in_rest = _held_out_nats(module, list(module.objective.held_out(rest=True)), shown=False)
    if not in_rest:
        return sample_loss
    return (sample_loss * in_sample + nats) / (in_sample + in_rest)


@torch.no_grad()
def _held_out_nats(module: Training, batches: list[Batch], shown: bool) -> tuple[float, int]:
    """Return the nats of these batches and how many labels they are of, in eval mode and without compiling a second graph."""
    rank, size = group()
    passes = [part for batch in batches for part in module.objective.parts(batch)]
    own = passes[rank::size]
    if module.is_cut:  # others may have one more, and wait for it
        own += passes[: -(-len(passes) // size) - len(own)]
    nats: list[torch.Tensor] = []
    module.eval()
    progress = bar("held-out", total=len(own)) if shown else nullcontext(lambda: None)
    eager = torch.compiler.set_stance("force_eager")
    with eager, judging(module.cfg.precision, module.is_cut), progress as advance:
        for part in own:
            on_device = tuple(tensor.to(module.device) for tensor in part.batch)
            nats.append(module.compute(module.objective.loss, on_device, "sum"))
            advance()
    module.train()
    counted = nats[: len(passes[rank::size])]
    total = sum(torch.stack(counted).tolist()) if counted else 0.0  # read once, at the end
    if size > 1:
        totals = torch.tensor([total], dtype=torch.float64, device=module.device)
        add_up([totals])
        total = totals.item()
    return total, sum(module.objective.labels(batch) for batch in batches)
