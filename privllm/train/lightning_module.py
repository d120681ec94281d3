"""The one LightningModule: the loss of an objective, its optimiser, and what must be set before each step.

Everything random or scheduled is set from the step's number, so training can go on from a checkpoint as if it
had never stopped. It does not decide when to validate, stop or save (`history`, `checkpoint`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import lightning
import torch
from torch import Tensor
from transformers import PreTrainedModel

from privllm.core.seed import seed_of
from privllm.models.blocks import blocks, projections, text_config
from privllm.train.config import TrainConfig
from privllm.train.lean_adamw import LeanAdamW
from privllm.train.muon import Muon
from privllm.train.objective import Objective
from privllm.train.parallel import add_up, group
from privllm.train.recompute import Recompute
from privllm.train.schedule import Schedule
from privllm.train.sharding import Whole, taken_over
from privllm.train.spelling_parts import SpellingParts
from privllm.train.step_parts import Part, StepBatch, positions_of

REST_RATE = 4.0  # embeddings and norms beside Muon learn faster than matrices: 1 and 2 gave a higher held-out loss, 8 hardly a lower

# What a matrix inside a block is, by its module's name in each architecture; all others are taken whole.
PARTS = {
    **dict.fromkeys(("q_proj", "q_lin", "self.query", "SelfAttention.q", "EncDecAttention.q"), "query"),
    **dict.fromkeys(("k_proj", "v_proj", "k_lin", "v_lin", "self.key", "self.value"), "key_value"),
    **dict.fromkeys(("SelfAttention.k", "SelfAttention.v", "EncDecAttention.k", "EncDecAttention.v"), "key_value"),
    **dict.fromkeys(
        ("o_proj", "out_lin", "attention.output.dense", "attn.Wo", "SelfAttention.o", "EncDecAttention.o"), "output"
    ),
    "Wqkv": "all_three",
}


class Training(lightning.LightningModule):
    def __init__(
        self,
        objective: Objective,
        cfg: TrainConfig,
        schedule: Schedule,
        recompute: Recompute,
        whole: Whole | None = None,  # of a model that is cut
    ) -> None:
        super().__init__()
        self.model = objective.model
        self.objective = objective
        self.cfg = cfg
        self.schedule = schedule
        self.recompute = recompute
        self._whole = [whole]  # in a list, or its weights would count twice
        self.step_loss = torch.tensor(math.nan)  # of the last step, where the model is: reading it waits for the GPU

    def training_step(self, batch: StepBatch, _: int) -> Tensor:
        """Add up the gradients of this process's parts but the last, and return the loss of that, whose gradient Lightning takes."""
        *first, last = self._own(batch.parts)
        before = None
        for part in first:
            loss = self._part_loss(part)
            with torch.autocast(loss.device.type, enabled=False):
                loss.backward()
            before = loss.detach() if before is None else before + loss.detach()
        loss = self._part_loss(last)
        self.step_loss = loss.detach().clone() if before is None else before + loss.detach()
        return loss

    def _own(self, parts: Sequence[Part]) -> list[tuple[Part, float]]:
        """Return this process's parts, each with 1; and, where others have more and wait for it, some that count 0."""
        rank, size = group()
        own = [(part, 1.0) for part in parts[rank::size]]
        passes = -(-len(parts) // size) if self.is_cut else 1
        return own + [(parts[0], 0.0)] * (passes - len(own))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Add up what the processes found, before the gradient is clipped."""
        if group().size == 1:
            return
        if not self.is_cut:  # else it is added up already
            gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
            add_up(gradients)
        add_up([self.step_loss])

    @property
    def is_cut(self) -> bool:
        """Return whether each process holds a share of the model."""
        return self._whole[0] is not None

    def compute(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """Call a function that uses the model."""
        whole = self._whole[0]
        return function(*arguments) if whole is None else whole(function, *arguments)

    def _part_loss(self, own: tuple[Part, float]) -> Tensor:
        part, counts = own
        self.recompute.before(positions_of(part.batch))
        loss = self.compute(self.objective.part_loss, part)
        return loss if counts else loss * 0.0

    def optimizer_zero_grad(self, *_: Any) -> None:
        """Do nothing: Lightning calls it between `training_step` and the last backward pass, where gradients are already there."""

    def on_train_batch_start(self, batch: StepBatch, batch_idx: int) -> None:
        step = self.global_step
        self.optimizers(use_pl_optimizer=False).zero_grad()  # type: ignore[union-attr]
        rank = group().rank
        torch.manual_seed(seed_of("step", self.cfg.seed, step, *([rank] if rank else [])))
        for settings in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            settings["lr"] = settings["rate"] * self.cfg.learning_rate * self.schedule.factor(step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.model, self.cfg, self.objective.spelling_parts, self.objective.damping)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["schedule"] = asdict(self.schedule)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.schedule = Schedule(**checkpoint["schedule"])
        if self.is_cut:  # and was not, perhaps, when this was saved
            own, saved = self.state_dict(), checkpoint["state_dict"]
            saved.update({name: taken_over(value, own[name]) for name, value in saved.items()})


def make_optimizer(
    model: PreTrainedModel, cfg: TrainConfig, spelling: SpellingParts | None = None, damping: float = 0.0
) -> Muon | LeanAdamW:
    """Return an optimiser of groups by what a parameter is; parameters that need no gradient are left out.

    With a `spelling`, and beside Muon only, embeddings learn from each other and decay: REST_RATE times as fast as matrices, by their
    learning rate. `damping` makes small those of their steps whose gradients are small.

    Attention is orthogonalised head by head, and feed-forward matrices in as many parts of the residual stream (block-wise
    Muon, Khaled et al. 2025, arXiv 2510.16981): the work grows with the square of a part's short side. At equal steps the
    held-out loss is no higher (`benchmarks/orthogonal_parts.py`).
    """
    config, muon = text_config(model), cfg.optimizer == "muon"
    matrices = _matrices(model)
    embeddings = _embeddings(model) if muon and spelling is not None else set()
    kinds: dict[str, list[torch.nn.Parameter]] = {"embeddings": [], "rest": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in matrices:
            kinds.setdefault(_kind(name, parameter), []).append(parameter)
        else:
            kinds["embeddings" if id(parameter) in embeddings else "rest"].append(parameter)
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    parts = heads if config.hidden_size % heads == 0 else 1  # Flan-T5's residual stream is not divided by its heads
    blocks_of = {
        "query": (heads, 1),
        "key_value": (kv_heads, 1),
        "output": (1, heads),
        "all_three": (3 * heads, 1),
        "widening": (1, parts),
        "narrowing": (parts, 1),
    }
    groups: list[dict[str, Any]] = [
        {
            "params": kinds[kind],
            "muon": muon,
            "blocks": blocks_of.get(kind, (1, 1)),
            "weight_decay": cfg.weight_decay,
            "rate": 1.0,
        }
        for kind in sorted(kinds.keys() - {"embeddings", "rest"})
    ]
    rate = REST_RATE if muon else 1.0
    if kinds["embeddings"]:
        table = {"params": kinds["embeddings"], "weight_decay": cfg.weight_decay, "rate": rate}
        groups.append(table | {"tokens": True, "damping": damping})
    groups.append({"params": kinds["rest"], "weight_decay": 0.0, "rate": rate})
    if cfg.optimizer == "adamw8":
        return LeanAdamW(groups, lr=cfg.learning_rate)
    return Muon(groups, lr=cfg.learning_rate, spelling=spelling)


def _embeddings(model: PreTrainedModel) -> set[int]:
    """Return the ids of the weights with a row for each token of the vocabulary, of the input and of the output."""
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    return {id(table.weight) for table in tables if table is not None}


def _matrices(model: PreTrainedModel) -> set[int]:
    """Return the ids of the weights that are matrices of the body: inside the blocks, and of a layer as wide as they are behind them.

    The latter ends the body of a masked model; trained as "rest", ModernBERT's cost 0.3 nats (reports/LOG.md).
    """
    found: set[int] = set()
    for block in blocks(model):
        found |= {id(module.weight) for module in projections(block).values()}
    width = text_config(model).hidden_size
    output = model.get_output_embeddings()
    for module in projections(model).values():
        if module is not output and tuple(module.weight.shape) == (width, width):  # type: ignore[arg-type]
            found.add(id(module.weight))
    return found


def _kind(name: str, parameter: torch.nn.Parameter) -> str:
    """Return the role of a matrix of the body."""
    modules = name.split(".")[:-1]
    for module_name in (modules[-1], ".".join(modules[-2:]), ".".join(modules[-3:])):
        if module_name in PARTS:
            return PARTS[module_name]
    rows, columns = parameter.shape
    if rows == columns:
        return "square"
    return "widening" if rows > columns else "narrowing"  # of a feed-forward part, whose inner width is the longer side
