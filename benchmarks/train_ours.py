"""Our `pretrain`, by the clock: `FOLDER SEED SECONDS [key=value ...]`; prints one JSON line.

The stage's own module, data, optimiser, trainer and callbacks, with the shipped parameters, and dropout and weight decay as
`privllm params --suggest` sets them for as many epochs (`key=value` changes one of `pretrain.causal`): validation, logging and
checkpoints are on the clock, and their shares are measured. Only the number of steps is found here. A stage has it from params.yaml;
this takes the speed of some steps of a model that is thrown away, and corrects the schedule by the speed so far when the decay is about
to begin.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow as pa
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from peer_corpus import BATCH, CONTEXT, FEEDFORWARD, HEADS, LAYERS, WIDTH, Clock, Corpus, bits_per_byte, load_corpus

from privllm.core.special_tokens import own_ids
from privllm.engine.executor_ray import ExecutorConfig
from privllm.models.causal import CausalConfig
from privllm.models.lean_blocks import lean_blocks
from privllm.models.loading import build
from privllm.parameters.suggestion import regularisation_for
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import open_rows, write_rows
from privllm.tokens.token_bytes import token_bytes
from privllm.train.budget import steps_between_validations
from privllm.train.checkpoint import BestWeights, KeepLatest, SafeCheckpointIO
from privllm.train.compile_support import prepare_compiler
from privllm.train.config import CausalPretrain
from privllm.train.dropout import add_dropout
from privllm.train.lightning_module import Training, make_optimizer
from privllm.train.loop import fit, make_trainer
from privllm.train.loss_history import History, Validate, affordable_interval
from privllm.train.pretrain_objectives import OBJECTIVES, Split
from privllm.train.progress import ShowProgress
from privllm.train.recompute import NEVER, Recompute
from privllm.train.schedule import plan
from privllm.train.spelling_parts import SpellingParts

PROBED, WARMED = 12, 3  # steps of the probe, and those of them that are not counted
MODEL = "model."  # before the keys of a shape
HOOKS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end", "on_train_end")


class Data(NamedTuple):
    """A text: its tokens, those as rows, and what each token of its vocabulary stands for."""

    corpus: Corpus
    splits: dict[str, Split]
    spelling: dict[int, bytes]


class Budget(Callback):
    """Starts the clock, and makes the end fit the seconds when the planned decay begins; a plateau's decay is left alone."""

    def __init__(self, seconds: float, history: History) -> None:
        self.seconds, self.history = seconds, history
        self.clock = Clock()
        self.is_planned = False

    def on_train_start(self, trainer: Any, module: Training) -> None:
        self.clock = Clock()

    def on_train_batch_end(self, trainer: Any, module: Training, *_: Any) -> None:
        step, seconds = trainer.global_step, self.clock.seconds()
        until_decay = self.seconds * (1 - module.cfg.decay_fraction)
        is_due = step >= module.schedule.decay_from or seconds >= until_decay
        if self.is_planned or self.history.stopped_by == "plateau" or not is_due:
            return
        steps_left = max(1, round((self.seconds - seconds) / (seconds / step)))
        module.schedule = replace(module.schedule, decay_from=step, end=step + steps_left)
        self.is_planned = True


class Shares:
    """Seconds inside callbacks, by what they are for."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def watch(self, callback: Callback, purpose: str) -> Callback:
        for hook in HOOKS:
            setattr(callback, hook, self._timed(getattr(callback, hook), purpose))
        return callback

    def _timed(self, method: Any, purpose: str) -> Any:
        def timed(*args: Any) -> Any:
            begun = time.perf_counter()
            try:
                return method(*args)
            finally:
                self.seconds[purpose] += time.perf_counter() - begun

        return timed


@contextmanager
def packed(ids: dict[str, torch.Tensor]) -> Iterator[dict[str, Split]]:
    """Rows as `pack` lays them, of a text that is one document."""
    with tempfile.TemporaryDirectory() as folder:
        splits = {}
        for part, tokens in ids.items():
            rows = pack_rows([tokens.to(torch.int32).numpy()], pa.array([part]), CONTEXT, own_ids(0))
            write_rows(rows.input_ids, rows.pieces, CONTEXT, Path(folder) / part / "00000.arrow")
            splits[part] = Split(open_rows(Path(folder) / part))
        yield splits


def config(seed: int, changes: dict[str, Any]) -> CausalPretrain:
    """Return the shipped parameters for the common shape, but for changes (`model.dropout` is one of the model)."""
    of_model = {key.removeprefix(MODEL): value for key, value in changes.items() if key.startswith(MODEL)}
    others = {key: value for key, value in changes.items() if not key.startswith(MODEL)}
    shape = CausalConfig(layers=LAYERS, width=WIDTH, heads=HEADS, feedforward=FEEDFORWARD, **of_model)
    return CausalPretrain(model=shape, batch_size=BATCH, seed=seed, **others)


def steps_in(seconds: float, cfg: CausalPretrain, data: Data) -> int:
    """Return how many steps a training of so many seconds has."""
    return max(1, round(seconds / seconds_a_step(cfg, data)))


def regularised(seed: int, changes: dict[str, Any], epochs: float) -> CausalPretrain:
    """Return the parameters with the dropout and weight decay that are suggested for so many epochs."""
    suggested = {setting.key: setting.value for setting in regularisation_for(epochs)}
    return config(seed, suggested | changes)


def objective_of(cfg: CausalPretrain, data: Data) -> Any:
    """Return the objective of a fresh model, as the stage makes it."""
    special = own_ids(data.corpus.vocabulary)
    model = build("causal", cfg.model, special, CONTEXT, cfg.seed)
    add_dropout(model, "causal", cfg.model.dropout)
    objective = OBJECTIVES["causal"](model, cfg, data.splits["train"], data.splits["validation"], special)
    objective.spelling_parts = SpellingParts(data.spelling, special.size, special.special)
    return objective


def seconds_a_step(cfg: CausalPretrain, data: Data) -> float:
    """Return what a step takes here, of a model that is thrown away."""
    objective = objective_of(cfg, data)
    model = objective.model.train()
    optimiser = make_optimizer(model, cfg, objective.spelling_parts, objective.damping)
    begun = time.perf_counter()
    with lean_blocks(model):
        for step in range(PROBED):
            if step == WARMED:
                begun = time.perf_counter()
            objective.loss(objective.batch(step)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
            optimiser.step()
            optimiser.zero_grad()
    return (time.perf_counter() - begun) / (PROBED - WARMED)


def train(data: Data, seed: int, seconds: float, changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    corpus = data.corpus
    steps = steps_in(seconds, config(seed, changes), data)
    epochs = steps * BATCH * CONTEXT / len(corpus.train.ids)
    cfg = replace(regularised(seed, changes, epochs), epochs=epochs)
    if cfg.model.dropout:  # which takes time
        steps = steps_in(seconds, cfg, data)
    objective = objective_of(cfg, data)
    model = objective.model
    compiled = prepare_compiler(cfg.compile, folder)  # which is empty, so compiling is on the clock
    if compiled:
        objective.compile()
    epoch = len(data.splits["train"].rows) // cfg.batch_size
    interval = steps_between_validations(affordable_interval(objective), steps, epoch)
    cfg = replace(cfg, validate_every=cfg.validate_every or interval)
    module = Training(objective, cfg, plan(steps, cfg.warmup_steps, cfg.decay_fraction), Recompute(model, NEVER, 0))
    module.train()
    shares, history = Shares(), History(folder / "live")
    keep = KeepLatest(folder / "work", 60 * ExecutorConfig().checkpoint_minutes)
    validate = Validate(history, BestWeights(folder / "work", SafeCheckpointIO("benchmark")))
    budget = Budget(seconds, history)
    callbacks = [
        shares.watch(history, "logging"),
        shares.watch(keep, "checkpoints"),
        budget,
        shares.watch(validate, "validation"),
        shares.watch(ShowProgress(history), "logging"),
    ]
    with lean_blocks(model):
        fit(make_trainer(cfg, SafeCheckpointIO("benchmark"), callbacks), module, None)
    took = budget.clock.seconds()
    model.eval()

    @torch.no_grad()
    def nats_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(x.shape[1]).expand_as(x)
        return objective.loss(tuple(part.to(model.device) for part in (x, positions, y)), "sum")

    trained_steps = module.schedule.end
    return {
        "seconds": round(took, 1),
        "steps": trained_steps,
        "tokens_per_s": round(history.tokens / took),
        "epochs": round(history.tokens / len(corpus.train.ids), 2),
        "bpb": round(bits_per_byte(nats_of, corpus.held_out), 4),
        "validation_bpb": round(bits_per_byte(nats_of, corpus.validation), 4),
        "best_step": validate.kept_step,
        "stopped_by": history.stopped_by,
        "planned_steps": steps,
        "dropout": cfg.model.dropout,
        "weight_decay": cfg.weight_decay,
        "shares": {purpose: round(spent / took, 4) for purpose, spent in sorted(shares.seconds.items())},
    }


def main(folder: Path, seed: int, seconds: float, changes: dict[str, Any]) -> None:
    corpus = load_corpus(folder)
    ids = {"train": corpus.train.ids, "validation": corpus.validation.ids}
    with packed(ids) as splits, tempfile.TemporaryDirectory() as scratch:
        data = Data(corpus, splits, token_bytes((folder / "tokenizer.json").read_text("utf-8")))
        print(json.dumps(train(data, seed, seconds, changes, Path(scratch)) | changes))


if __name__ == "__main__":
    settings = {key: yaml.safe_load(value) for key, value in (a.split("=", 1) for a in sys.argv[4:])}
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), settings)
