"""Weights on the way from those of a base model to the trained ones (Wortsman et al. 2022, WiSE-FT, arXiv 2109.01903).

No model predicts what the base writes better than the base, so the loss on that grows with the square of the way, while the
loss on the documents falls from the first step on: the last fifth of the way teaches little and forgets much (reports/LOG.md).
"""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedModel

LORA_B = ".lora_B."  # in the names of those matrices, as peft gives them, that are 0 before the first step


@torch.no_grad()
def weaken(adapters: Any, strength: float) -> None:
    """Scale what adapters add to the weights, in place. Rows of new tokens, which the base never had, stay as they were learnt."""
    for name, parameter in adapters.named_parameters():
        if LORA_B in name:
            parameter.mul_(strength)


@torch.no_grad()
def interpolate(trained: PreTrainedModel, base: PreTrainedModel, strength: float, new_tokens: Iterable[int]) -> None:
    """Move the weights of `trained`, in place, to where the share `strength` of the way from `base` is gone.

    Rows of new tokens stay as they were learnt.
    """
    tokens = sorted(new_tokens)
    embeddings = [trained.get_input_embeddings(), trained.get_output_embeddings()]
    matrices = [module.weight for module in embeddings if module is not None]
    learnt_rows = [matrix[tokens].clone() for matrix in matrices]
    for parameter, before in zip(trained.parameters(), base.parameters(), strict=True):
        parameter.lerp_(before.to(parameter.device, parameter.dtype), 1 - strength)
    for matrix, rows in zip(matrices, learnt_rows, strict=True):
        matrix[tokens] = rows
