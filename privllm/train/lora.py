"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685), by peft: a few matrices learn beside weights that stay as they are.

Every matrix inside a block gets one; heads that are new are learnt whole, and so are the rows of tokens that the base model
never saw, such as the marks of turns: else no reply could end. `merge` adds them to the weights, so that what is saved is an
ordinary model.
"""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from privllm.core.errors import UserError
from privllm.core.seed import seed_of
from privllm.models.blocks import blocks, projections
from privllm.train.adapter_config import AdapterConfig

HEADS = ("classifier", "score")  # what transformers calls the last matrix of a model that classifies


def adapt(model: PreTrainedModel, cfg: AdapterConfig, seed: int, new_tokens: Iterable[int] = ()) -> Any:
    """Give `model` adapters, in place, and freeze all but the rows of `new_tokens`; return what `merge` wants."""
    matrices_inside: set[int] = set()
    for block in blocks(model):
        matrices_inside |= {id(module) for module in projections(block).values()}
    targets = [name for name, module in model.named_modules() if id(module) in matrices_inside]
    if not targets:
        raise UserError(f"a {model.config.model_type} model has no matrices that adapters fit: set `lora.rank` to 0.")
    is_transposed = any(isinstance(module, Conv1D) for module in model.modules())  # as GPT-2's
    settings = LoraConfig(
        r=cfg.rank,
        lora_alpha=cfg.alpha,
        lora_dropout=cfg.dropout,
        target_modules=targets,
        bias="none",
        fan_in_fan_out=is_transposed,
        trainable_token_indices=_learnt_rows(model, sorted(set(new_tokens))),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that has become old
        torch.manual_seed(seed_of("adapters", seed))
        wrapped = get_peft_model(model, settings)
    for name, module in model.named_children():
        if name in HEADS:
            module.requires_grad_(True)
    return wrapped


def _learnt_rows(model: PreTrainedModel, tokens: list[int]) -> dict[str, list[int]] | None:
    """Return the names of the embeddings, of input and output where these are two, each with the rows that learn."""
    if not tokens:
        return None
    inputs: Any = model.get_input_embeddings()
    output: Any = model.get_output_embeddings()
    is_tied = output is None or output.weight is inputs.weight
    learning = {id(inputs)} if is_tied else {id(inputs), id(output)}
    return {name: tokens for name, module in model.named_modules() if id(module) in learning}


def merge(wrapped: Any) -> PreTrainedModel:
    """Return the model with its adapters added to its weights."""
    return wrapped.merge_and_unload()
