"""A model to train on, from the folder that `tokens.base_models` filled: its weights in fp32, its rows in the order of our ids.

The architecture is the folder's. Of the family's `model` section only dropout counts, which is no part of the weights. Tokens that the
start did not know begin as the mean of those it did (Hewitt 2021), so that they are neither likely nor
impossible.
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import GenerationConfig, PreTrainedModel

from privllm.core.base_model import NOTE
from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, PAD
from privllm.models.family import CLASSES, config_of, context_of, read_weights
from privllm.models.seq2seq import SENTINELS

# What a knob of the `model` section is called in transformers' configuration of the family.
DROPOUT: dict[str, dict[str, tuple[str, ...]]] = {
    "causal": {"attention_dropout": ("attention_dropout",)},
    "masked": {"dropout": ("attention_dropout", "embedding_dropout", "mlp_dropout")},
    "seq2seq": {"dropout": ("dropout_rate",)},
}


def open_start(family: str, folder: Path, cfg: Any, vocabulary: int, context: int, moved: dict[int, int | None]) -> PreTrainedModel:
    """The model in `folder` for `vocabulary` ids, in training mode on the CPU; `moved`: {id here: id there, None for a new token}.

    `cfg` is the family's `model` section. Raises UserError for a context beyond the model's, or weights that are not all there.
    """
    config = config_of(folder)
    _adapt(family, config, cfg, context)
    if context > (most := context_of(config)):
        raise UserError(
            f"pack.context is {context} tokens, but the model that pretrain.{family}.start names sees {most} at once: "
            f"lower pack.context to {most}, or train from scratch."
        )
    transformers.utils.logging.set_verbosity_error()  # what is missing is said below
    transformers.utils.logging.disable_progress_bar()
    model = read_weights(CLASSES[family], family, folder, config, whole=True)
    arrange_rows(model, vocabulary + (SENTINELS if family == "seq2seq" else 0), moved)
    if family != "masked":  # nobody else's settings of generation
        more = {"bos_token_id": None} if family == "causal" else {"decoder_start_token_id": PAD}
        model.generation_config = GenerationConfig(eos_token_id=END_OF_TEXT, pad_token_id=PAD, **more)
    return model.train()


def _adapt(family: str, config: Any, cfg: Any, context: int) -> None:
    """Our marks, which decide what an embedding never learns, and our dropout."""
    for knob, names in DROPOUT[family].items():
        for name in names:
            setattr(config, name, getattr(cfg, knob))
    config.eos_token_id, config.pad_token_id = END_OF_TEXT, PAD
    if family == "causal":
        config.bos_token_id = None
    elif family == "masked":
        config.bos_token_id = config.cls_token_id = config.sep_token_id = END_OF_TEXT
    else:
        config.decoder_start_token_id = PAD
        config.n_positions = getattr(config, "n_positions", None) or context  # T5 has no limit of its own


@torch.no_grad()
def arrange_rows(model: PreTrainedModel, size: int, moved: dict[int, int | None]) -> None:
    """Give the model `size` ids: the row of each is the one it had there, or the mean of all."""
    before = {name: part.detach().clone() for name, part in _rows_of(model).items()}
    known = len(before["inputs"])
    if size == known and not moved:
        return
    origins = [moved.get(i, i) for i in range(size)]
    old = torch.tensor([i for i, origin in enumerate(origins) if origin is not None and origin < known])
    there = torch.tensor([origin for origin in origins if origin is not None and origin < known])
    model.resize_token_embeddings(size, mean_resizing=False)
    for name, part in _rows_of(model).items():
        part.copy_(before[name].mean(0).expand_as(part))
        part[old] = before[name][there]


def _rows_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The tensors that have a row for each id; tied ones twice."""
    output: Any = model.get_output_embeddings()
    inputs: Any = model.get_input_embeddings()
    found = {"inputs": inputs.weight, "outputs": output.weight}
    return found | ({"bias": output.bias} if getattr(output, "bias", None) is not None else {})


def note_of(folder: Path) -> dict[str, Any]:
    """What `folder` (data/start/<family>) holds: "start", and "moved"."""
    found = json.loads((folder / NOTE).read_text("utf-8"))
    return found | {"moved": {int(here): there for here, there in found.get("moved", {}).items()}}
