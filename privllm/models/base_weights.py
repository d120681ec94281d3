"""A model to train on, loaded from the folder that `tokens.base_models` filled: in fp32, its rows in the order of our ids.

The architecture is the folder's. Of the family's `model` section only dropout counts, which is no part of the
weights. Tokens that the base model did not have begin near the mean of those it had (Hewitt 2021), so that they are
neither likely nor impossible, and each at a place of its own, so that no two marks of turns are one.
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from privllm.core.base_model import NOTE
from privllm.core.errors import UserError
from privllm.core.seed import seed_of
from privllm.core.special_tokens import END_OF_TEXT, PAD
from privllm.models.family_model import FamilyModel
from privllm.models.loading import MODELS, config_of, context_of, read_weights

NOISE = 0.1  # of a new token's row, in standard deviations of the rows there are


def open_start(
    family: str,
    folder: Path,
    cfg: Any,
    vocabulary: int,
    context: int,
    moved: dict[int, int | None],
) -> PreTrainedModel:
    """Return the model in `folder` for `vocabulary` ids, in training mode on the CPU.

    `cfg` is the family's `model` section; `moved` is {our id: its id in the base model, None for a new token}.
    Raises UserError for a context beyond the model's, or weights that are not all there.
    """
    family_model = MODELS[family]
    config = config_of(folder)
    _adapt(family_model, config, cfg, context)
    longest = context_of(config)
    if context > longest:
        raise UserError(
            f"pack.context is {context} tokens, but the model that pretrain.{family}.start names sees {longest} at once: "
            f"lower pack.context to {longest}, or train from scratch."
        )
    transformers.utils.logging.set_verbosity_error()  # missing weights are reported by `read_weights`
    transformers.utils.logging.disable_progress_bar()
    model = read_weights(family_model.auto_class, family, folder, config, whole=True)
    arrange_rows(model, vocabulary + family_model.extra_ids, moved)
    if family_model.generation_config is not None:  # nobody else's settings of generation
        model.generation_config = family_model.generation_config()
    return model.train()


def _adapt(family_model: FamilyModel, config: Any, cfg: Any, context: int) -> None:
    """Set our special ids, which decide what an embedding never learns, and our dropout."""
    for name in family_model.dropout:
        if hasattr(config, name):
            setattr(config, name, cfg.dropout)
    config.eos_token_id = END_OF_TEXT
    config.pad_token_id = PAD
    family_model.set_special_ids(config, context)


@torch.no_grad()
def arrange_rows(model: PreTrainedModel, size: int, moved: dict[int, int | None]) -> None:
    """Resize `model` to `size` ids; the row of each is the one it had in the base model, or near the mean of all."""
    rows_before = {name: tensor.detach().clone() for name, tensor in _rows_of(model).items()}
    size_before = len(rows_before["inputs"])
    if size == size_before and not moved:
        return
    ids, base_ids = [], []
    for our_id in range(size):
        base_id = moved.get(our_id, our_id)
        if base_id is not None and base_id < size_before:
            ids.append(our_id)
            base_ids.append(base_id)
    new_ids = sorted(set(range(size)) - set(ids))
    model.resize_token_embeddings(size, mean_resizing=False)
    for name, tensor in _rows_of(model).items():
        before = rows_before[name]
        tensor.copy_(before.mean(0).expand_as(tensor))
        if tensor.dim() == 2 and new_ids:  # a bias has nothing to tell tokens apart by
            tensor[torch.tensor(new_ids)] += NOISE * before.std(0) * _noise(len(new_ids), tensor.shape[1]).to(tensor)
        tensor[torch.tensor(ids)] = before[torch.tensor(base_ids)]


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
    """Read what `folder` (data/start/<family>) holds: "start", and "moved"."""
    note = json.loads((folder / NOTE).read_text("utf-8"))
    moved = {int(our_id): base_id for our_id, base_id in note.get("moved", {}).items()}
    return note | {"moved": moved}
