"""A model to train on, loaded from the folder that `tokens.base_models` filled: in fp32, with a row for every id of its tokenizer.

The architecture, the ids and the settings of generation are the folder's; of the family's `model` section only dropout counts,
which is no part of the weights. A token that was added begins near one that the base model knows and that is used like it, or
near the mean of all (Hewitt 2021) where there is none; each at a place of its own, so that no two marks of turns are one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from privllm.core.base_model import NOTE
from privllm.core.errors import UserError
from privllm.core.seed import seed_of
from privllm.core.special_tokens import SpecialIds
from privllm.models.family_model import FamilyModel
from privllm.models.loading import LIMITS, MODELS, config_of, context_of, read_weights

NOISE = 0.1  # of a new token's row, in standard deviations of the rows there are

Added = Mapping[int, int | None]  # {id of a new token: id of the one that it begins near, None for the mean of all}


def open_start(
    family: str,
    folder: Path,
    cfg: Any,
    special: SpecialIds,
    context: int,
    added: Added,
) -> PreTrainedModel:
    """Return the model in `folder` for the vocabulary of `special`, in training mode on the CPU.

    `cfg` is the family's own `model` section. Raises UserError for a context beyond the model's, or weights that are
    not all there.
    """
    family_model = MODELS[family]
    config = _config_for(folder, special, context)
    _set_dropout(family_model, config, cfg.dropout)
    longest = context_of(config)
    if context > longest:
        raise UserError(
            f"pack.context is {context} tokens, but the model that `base` names for {family} sees {longest} at once: "
            f"lower pack.context to {longest}, or train from scratch."
        )
    return _with_all_rows(family_model, folder, config, special, added).train()


def load_base(family: str, folder: Path, special: SpecialIds, context: int) -> PreTrainedModel:
    """Return the model in `folder` as training begins with it, in eval mode on the CPU; `context` is of one that has no limit."""
    added = note_of(folder)["added"]
    config = _config_for(folder, special, context)
    return _with_all_rows(MODELS[family], folder, config, special, added).eval()


def _with_all_rows(
    family_model: FamilyModel, folder: Path, config: Any, special: SpecialIds, added: Added
) -> PreTrainedModel:
    """Return the model with a row for every id of its tokenizer."""
    transformers.utils.logging.set_verbosity_error()  # missing weights are reported by `read_weights`
    transformers.utils.logging.disable_progress_bar()
    model = read_weights(family_model.auto_class, family_model.name, folder, config, whole=True)
    size = special.size
    if family_model.has_sentinels:
        size = max(size, 1 + max(special.sentinels))
    add_rows(model, size, added)
    return model


def _config_for(folder: Path, special: SpecialIds, context: int) -> Any:
    """Return transformers' configuration of the model in `folder`, with what a T5 may leave open: its limit, and how an answer begins."""
    config = config_of(folder)
    if not any(getattr(config, key, None) for key in LIMITS):
        config.n_positions = context
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = special.pad
    return config


def _set_dropout(family_model: FamilyModel, config: Any, dropout: float) -> None:
    for name in family_model.dropout:
        if hasattr(config, name):
            setattr(config, name, dropout)


@torch.no_grad()
def add_rows(model: PreTrainedModel, size: int, added: Added) -> None:
    """Make room for `size` ids, and set the rows of new tokens; rows that the base model has beyond them stay."""
    rows_before = {name: tensor.detach().clone() for name, tensor in _rows_of(model).items()}
    size_before = len(rows_before["inputs"])
    new_ids = sorted({*added, *range(size_before, size)})
    if not new_ids:
        return
    if size > size_before:
        model.resize_token_embeddings(size, mean_resizing=False)
    begin_near = [added.get(token) for token in new_ids]
    for name, tensor in _rows_of(model).items():
        before = rows_before[name]
        mean = before.mean(0)
        rows = torch.stack([mean if near is None else before[near] for near in begin_near])
        if tensor.dim() == 2:  # a bias has nothing to tell tokens apart by
            rows = rows + NOISE * before.std(0) * _noise(len(new_ids), tensor.shape[1]).to(tensor)
        tensor[torch.tensor(new_ids)] = rows
    _copy_to_second_bias(model)


def _copy_to_second_bias(model: PreTrainedModel) -> None:
    """Give the head around the output, in BERT and RoBERTa, a bias as the output's is: it keeps one of its own, which is saved."""
    output: Any = model.get_output_embeddings()
    for module in model.modules():
        bias = module._parameters.get("bias")
        if bias is not None and output in module.children() and bias is not output.bias:
            module.bias = torch.nn.Parameter(output.bias.detach().clone())


def _noise(rows: int, width: int) -> torch.Tensor:
    """Return normal noise, the same at every call: tied matrices are set twice."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed_of("new tokens")))


def _rows_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors that have a row for each id; tied ones twice."""
    output: Any = model.get_output_embeddings()
    inputs: Any = model.get_input_embeddings()
    tensors = {"inputs": inputs.weight, "outputs": output.weight}
    bias = getattr(output, "bias", None)
    if bias is not None:
        tensors["bias"] = bias
    return tensors


def note_of(folder: Path) -> dict[str, Any]:
    """Read what `folder` (data/start/<family>) holds: "start", the tokens that were "added", and whether it can "chat"."""
    note = json.loads((folder / NOTE).read_text("utf-8"))
    added = {int(token): near for token, near in note.get("added", {}).items()}
    return {"chat": False} | note | {"added": added}
