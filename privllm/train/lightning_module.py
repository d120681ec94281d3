"""The one LightningModule: the loss of an objective, its optimiser, and what must be set before each step.

Everything random or scheduled is set from the step's number, so training can go on from a checkpoint as if it
had never stopped. It does not decide when to validate, stop or save (`history`, `checkpoint`).
"""

from dataclasses import asdict
from typing import Any

import lightning
import torch
from torch import Tensor
from transformers import PreTrainedModel

from privllm.core.seed import seed_of
from privllm.train.batches import Batch
from privllm.train.config import TrainConfig
from privllm.train.muon import Muon
from privllm.train.objective import Objective, blocks
from privllm.train.schedule import Schedule

REST_RATE = 4.0  # embeddings and norms beside Muon learn faster than matrices: 1 and 2 gave a higher held-out loss, 8 hardly a lower

# What a matrix inside a block is, by its module's name in each architecture; all others are taken whole.
PARTS = {
    **dict.fromkeys(("q_proj", "SelfAttention.q", "EncDecAttention.q"), "query"),
    **dict.fromkeys(
        ("k_proj", "v_proj", "SelfAttention.k", "SelfAttention.v", "EncDecAttention.k", "EncDecAttention.v"),
        "key_value",
    ),
    **dict.fromkeys(("o_proj", "attn.Wo", "SelfAttention.o", "EncDecAttention.o"), "output"),
    "Wqkv": "all_three",
}


class Training(lightning.LightningModule):
    def __init__(self, objective: Objective, cfg: TrainConfig, schedule: Schedule) -> None:
        super().__init__()
        self.model = objective.model
        self.objective = objective
        self.cfg = cfg
        self.schedule = schedule

    def training_step(self, batch: Batch, _: int) -> Tensor:
        return self.objective.loss(batch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        step = self.global_step
        torch.manual_seed(seed_of("step", self.cfg.seed, step))
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = group["rate"] * self.cfg.learning_rate * self.schedule.factor(step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.model, self.cfg)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["schedule"] = asdict(self.schedule)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.schedule = Schedule(**checkpoint["schedule"])


def make_optimizer(model: PreTrainedModel, cfg: TrainConfig) -> Muon:
    """Return an optimiser of groups by what a parameter is; parameters that need no gradient are left out.

    Attention is orthogonalised head by head, a fifth of the work of whole matrices. At equal steps that cost 0.02 nats
    on a small model; within equal time it is the better bargain on a CPU.
    """
    # ModernBERT's, which ends like a block; trained as "rest" it cost 0.3 nats (reports/LOG.md)
    head = getattr(model, "head", None)
    block_modules = list(blocks(model))
    if isinstance(head, torch.nn.Module):
        block_modules.append(head)
    matrices_inside: set[int] = set()
    for module in block_modules:
        matrices_inside |= {id(parameter) for parameter in module.parameters() if parameter.ndim == 2}
    kinds: dict[str, list[torch.nn.Parameter]] = {"rest": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = _kind(name) if id(parameter) in matrices_inside else "rest"
            kinds.setdefault(kind, []).append(parameter)
    heads, muon = model.config.num_attention_heads, cfg.optimizer == "muon"
    kv_heads = getattr(model.config, "num_key_value_heads", None) or heads
    blocks_of = {"query": (heads, 1), "key_value": (kv_heads, 1), "output": (1, heads), "all_three": (3 * heads, 1)}
    groups: list[dict[str, Any]] = [
        {
            "params": kinds[kind],
            "muon": muon,
            "blocks": blocks_of.get(kind, (1, 1)),
            "weight_decay": cfg.weight_decay,
            "rate": 1.0,
        }
        for kind in sorted(kinds.keys() - {"rest"})
    ]
    groups.append({"params": kinds["rest"], "weight_decay": 0.0, "rate": REST_RATE if muon else 1.0})
    return Muon(groups, lr=cfg.learning_rate)


def _kind(name: str) -> str:
    """Return the role of a matrix inside a block ("rest": a table of positions, which is no projection)."""
    modules = name.split(".")[:-1]
    parent = modules[-1]
    if parent == "relative_attention_bias":
        return "rest"
    for module_name in (parent, ".".join(modules[-2:])):
        if module_name in PARTS:
            return PARTS[module_name]
    return "feedforward"
