"""The one LightningModule: next-token loss of a causal model, its optimiser, and what must be set before each step.

Everything random or scheduled is set from the step's number, so training can go on from a checkpoint as if it
had never stopped. It does not decide when to validate, stop or save (`history`, `checkpoint`).

Shapes: B rows, T context, V vocabulary.
"""

from dataclasses import asdict
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen3ForCausalLM

from privllm.core.seed import seed_of
from privllm.train.config import PretrainConfig
from privllm.train.data import IGNORED, Batch
from privllm.train.muon import Muon
from privllm.train.schedule import Schedule

REST_RATE = 4.0  # embeddings and norms beside Muon learn faster than matrices: 1 and 2 gave a higher held-out loss, 8 hardly a lower


class CausalTraining(lightning.LightningModule):
    def __init__(self, model: Qwen3ForCausalLM, cfg: PretrainConfig, schedule: Schedule, compiled: bool) -> None:
        super().__init__()
        self.model, self.cfg, self.schedule = model, cfg, schedule
        self._head = torch.compile(_cross_entropy) if compiled else _cross_entropy
        if compiled:  # block by block: all blocks share one compiled graph, a third of the time to compile the whole
            for layer in model.model.layers:
                layer.compile()

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        """Cross entropy in nats over the labels that are not ignored."""
        inputs_BT, labels_BT = batch
        hidden_BTD = self.model.model(input_ids=inputs_BT, use_cache=False).last_hidden_state
        return self._head(hidden_BTD, self.model.lm_head.weight, labels_BT, reduction)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        return self.loss(batch)

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


def _cross_entropy(hidden_BTD: Tensor, weight_VD: Tensor, labels_BT: Tensor, reduction: str) -> Tensor:
    logits_BTV = F.linear(hidden_BTD, weight_VD)
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), labels_BT.flatten(), ignore_index=IGNORED, reduction=reduction)


def make_optimizer(model: Qwen3ForCausalLM, cfg: PretrainConfig) -> Muon:
    """Groups by what a parameter is.

    Attention is orthogonalised head by head, a fifth of the work of whole matrices. At equal steps that cost 0.02 nats
    on a small model; within equal time it is the better bargain on a CPU.
    """
    kinds: dict[str, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        kinds.setdefault(_kind(name, parameter), []).append(parameter)
    heads, kv_heads, muon = model.config.num_attention_heads, model.config.num_key_value_heads, cfg.optimizer == "muon"
    blocks = {"query": (heads, 1), "key_value": (kv_heads, 1), "output": (1, heads)}
    groups: list[dict[str, Any]] = [
        {"params": kinds[kind], "muon": muon, "blocks": blocks.get(kind, (1, 1)), "weight_decay": cfg.weight_decay, "rate": 1.0}
        for kind in sorted(kinds.keys() - {"rest"})
    ]
    groups.append({"params": kinds["rest"], "weight_decay": 0.0, "rate": REST_RATE if muon else 1.0})
    return Muon(groups, lr=cfg.learning_rate)


def _kind(name: str, parameter: torch.nn.Parameter) -> str:
    parts = {"q_proj": "query", "k_proj": "key_value", "v_proj": "key_value", "o_proj": "output"}
    if parameter.ndim != 2 or ".layers." not in name:
        return "rest"
    return parts.get(name.split(".")[-2], "feedforward")
