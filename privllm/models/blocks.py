"""The blocks of a transformer, whichever class of transformers it is: what is compiled, adapted, and trained by Muon.

A block is an entry of the longest list of modules, of an encoder-decoder in each of its halves. Lists inside of a block (T5's sublayers,
experts) do not count.
"""

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from privllm.core.errors import UserError

PROJECTIONS = (torch.nn.Linear, Conv1D)  # modules whose weight is a matrix; GPT-2's is transposed


def blocks(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Return the transformer blocks of a model, in order. Raises UserError for one that has none."""
    body: Any = model.base_model
    parts = [body.encoder, body.decoder] if model.config.is_encoder_decoder else [body]
    found: list[torch.nn.Module] = []
    for part in parts:
        found += _longest_list(part, text_config(model).num_hidden_layers)
    if not found:
        raise UserError(
            f"a {model.config.model_type} model has no list of blocks that can be found, so it cannot be trained here: "
            "take a model of another architecture."
        )
    return found


def text_config(model: PreTrainedModel) -> Any:
    """Return transformers' configuration of the part that reads text: of a model of text and pictures that is a section of it."""
    return model.config.get_text_config()


def projections(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return {name: module} of what multiplies by a matrix inside a module. Tables of embeddings and positions do not."""
    return {name: inner for name, inner in module.named_modules() if isinstance(inner, PROJECTIONS)}


def _longest_list(part: torch.nn.Module, layers: int) -> list[torch.nn.Module]:
    """Return the outermost list that has as many entries as the model has layers, else the longest one."""
    lists = [list(modules) for modules in _outermost_lists(part)]
    if not lists:
        return []
    return max(lists, key=lambda candidate: (len(candidate) == layers, len(candidate)))


def _outermost_lists(module: torch.nn.Module) -> list[torch.nn.ModuleList]:
    lists: list[torch.nn.ModuleList] = []
    for child in module.children():
        if isinstance(child, torch.nn.ModuleList):
            lists.append(child)
        else:
            lists += _outermost_lists(child)
    return lists
