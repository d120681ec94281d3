"""Dropout for models whose class has none: of embeddings and of what each branch adds to the residual stream, while training only.

Qwen3 and Llama drop attention weights and nothing else, and with those the CPU's fast attention is lost. So hooks do it, as GPT-2 has it
built in (Srivastava et al. 2014; Radford et al. 2019). Nothing of it is saved: the folder is a stock model's, and `RATE` of its
training.json tells fine-tuning. What is dropped is a function of the global generator, which the loop seeds for each step.
"""

import json
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
NUMBERS = 1 << 16  # that chance tells apart
DRAWN_AT_ONCE = 4  # of them, in one draw of 64 bits
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
    """Return the values with a share of them 0, and the others larger by as much (inverted dropout).

    torch's own takes four times as long to draw on a CPU. Here chance has 16 bits a value, and the share is rounded to them.
    """
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(values, rate)
    seed = int(torch.randint(2**63 - 1, ()))  # whoever seeds torch decides, and what is computed again is dropped again
    drawn = np.random.SFC64(seed).random_raw(-(-values.numel() // DRAWN_AT_ONCE)).view(np.int16)
    dropped = min(NUMBERS - 1, round(rate * NUMBERS))
    is_kept = torch.from_numpy(drawn[: values.numel()]).view(values.shape) >= dropped - NUMBERS // 2
    return values * is_kept.to(values.dtype).mul_(NUMBERS / (NUMBERS - dropped))


def rate_of(folder: Path) -> float:
    """Return the dropout with which the model in `folder` was pretrained; 0 for one that was made elsewhere."""
    facts = folder / "training.json"
    if not facts.is_file():
        return 0.0
    return json.loads(facts.read_text("utf-8")).get(RATE, 0.0)
