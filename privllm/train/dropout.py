"""Dropout for models whose class has none: of embeddings and of what each branch adds to the residual stream, while training only.

Qwen3 and Llama drop attention weights and nothing else, and with those the CPU's fast attention is lost. So hooks do it, as GPT-2 has it
built in (Srivastava et al. 2014; Radford et al. 2019). Nothing of it is saved: the folder is a stock model's, and `RATE` of its
training.json tells fine-tuning. What is dropped is a function of the global generator, which the loop seeds for each step.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.models.blocks import blocks
from privllm.models.loading import MODELS

RATE = "dropout"  # key of training.json
LEVELS = 1 << 16  # of a random number of 16 bits
NUMBERS_A_DRAW = 4  # of 16 bits, in a draw of 64
BRANCH_ENDS = ("o_proj", "down_proj")  # the last matrix of attention, and of the feed-forward part


def add_dropout(model: PreTrainedModel, family: str, rate: float) -> None:
    """Drop the share `rate` in training mode, where the model's own class cannot (its configuration has no such key).

    Adapters must be in place already, for a branch ends behind them.
    """
    if not rate or any(hasattr(model.config, key) for key in MODELS[family].dropout):
        return

    def drop(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return drop_share(output, rate) if module.training else output

    model.get_input_embeddings().register_forward_hook(drop)
    for block in blocks(model):
        for name, module in block.named_modules():
            if name.rpartition(".")[2] in BRANCH_ENDS:
                module.register_forward_hook(drop)


def drop_share(values: Tensor, rate: float) -> Tensor:
    """Return inverted dropout of the values: a share `rate` of them is 0, the others are divided by 1 - `rate`.

    On a CPU torch's own takes four times as long. The random numbers here have 16 bits, to which the rate is rounded.
    """
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(values, rate)
    # Seeded by torch's generator, so that resumed steps and recomputed activations drop the same.
    seed = int(torch.randint(2**63 - 1, ()))
    draws = math.ceil(values.numel() / NUMBERS_A_DRAW)
    numbers = np.random.SFC64(seed).random_raw(draws).view(np.int16)[: values.numel()]
    dropped_levels = min(LEVELS - 1, round(rate * LEVELS))
    lowest_kept = dropped_levels - LEVELS // 2  # the numbers are signed
    is_kept = torch.from_numpy(numbers).view(values.shape) >= lowest_kept
    return values * is_kept.to(values.dtype).mul_(LEVELS / (LEVELS - dropped_levels))


def rate_of(folder: Path) -> float:
    """Return the dropout with which the model in `folder` was pretrained; 0 for one that was made elsewhere."""
    facts = folder / "training.json"
    if not facts.is_file():
        return 0.0
    return json.loads(facts.read_text("utf-8")).get(RATE, 0.0)
