"""Dropout for models whose class has none: of embeddings and of what each branch adds to the residual stream, while training only.

Qwen3 and Llama drop attention weights and nothing else, and with those the CPU's fast attention is lost. So hooks do it, as GPT-2 has it
built in (Srivastava et al. 2014; Radford et al. 2019). Nothing of it is saved: the folder is a stock model's, and `RATE` of its
training.json tells fine-tuning. What is dropped is a function of the global generator, which the loop seeds for each step.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.models.blocks import blocks
from privllm.models.loading import MODELS

RATE = "dropout"  # key of training.json
BRANCH_ENDS = ("o_proj", "down_proj")  # the last matrix of attention, and of the feed-forward part


def add_dropout(model: PreTrainedModel, family: str, rate: float) -> None:
    """Drop the share `rate` in training mode, where the model's own class cannot (its configuration has no such key).

    Adapters must be in place already, for a branch ends behind them.
    """
    if not rate or any(hasattr(model.config, key) for key in MODELS[family].dropout):
        return

    def drop(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return F.dropout(output, rate, training=module.training)

    model.get_input_embeddings().register_forward_hook(drop)
    for block in blocks(model):
        for name, module in block.named_modules():
            if name.rpartition(".")[2] in BRANCH_ENDS:
                module.register_forward_hook(drop)


def rate_of(folder: Path) -> float:
    """Return the dropout with which the model in `folder` was pretrained; 0 for one that was made elsewhere."""
    facts = folder / "training.json"
    if not facts.is_file():
        return 0.0
    return json.loads(facts.read_text("utf-8")).get(RATE, 0.0)
