"""The adapters of a training as a folder of their own, which peft loads beside the base model: what differs, and no more.

    adapter/adapter_config.json        peft's LoraConfig
            adapter_model.safetensors  the matrices in fp32, and the rows of tokens that were added to the vocabulary
            matrices/                  the same without rows, where nothing was added but bytes that its vocabulary lacked: vLLM and
                                       llama.cpp take no rows, and read such bytes as the base does

The merged model is the same to a rounding of its weights. Equal adapters give equal bytes. It trains nothing and merges nothing.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from privllm.core.families import CAUSAL, SEQ2SEQ
from privllm.core.report import write_json

FOLDER, MATRICES = "adapter", "matrices"
ADDED_ROWS = ".token_adapter."  # in the names of the rows of added tokens, as peft gives them
TASKS = {CAUSAL.name: "CAUSAL_LM", SEQ2SEQ.name: "SEQ_2_SEQ_LM"}  # by family, as peft calls them
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


class Adapter(NamedTuple):
    """Adapters off their model."""

    config: dict[str, Any]
    weights: dict[str, Tensor]


def take_adapter(wrapped: Any, base: str, family: str) -> Adapter:
    """Return a copy of the adapters that `lora.adapt` gave a model, before they are merged; `base` names the base model."""
    weights = {}
    for name, tensor in get_peft_model_state_dict(wrapped, save_embedding_layers=False).items():
        weights[name] = tensor.detach().to("cpu", torch.float32).contiguous().clone()
    config = wrapped.peft_config["default"].to_dict()
    config["target_modules"] = _shortest_names(wrapped.get_base_model(), config["target_modules"])
    config |= {"base_model_name_or_path": base, "inference_mode": True, "task_type": TASKS.get(family)}
    return Adapter(_plain(config), weights)


def write_adapter(adapter: Adapter, out: Path) -> None:
    """Write the folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / CONFIG, dict(sorted(adapter.config.items())))
    save_file(dict(sorted(adapter.weights.items())), out / WEIGHTS, metadata={"format": "pt"})


def without_rows(adapter: Adapter) -> Adapter:
    """Return the matrices alone."""
    weights = {name: tensor for name, tensor in adapter.weights.items() if ADDED_ROWS not in name}
    return Adapter(adapter.config | {"trainable_token_indices": None}, weights)


def _shortest_names(model: Any, targets: Any) -> list[str]:
    """Return the last parts of the names of the adapted modules, where these name no other module; else the whole names."""
    adapted = {*targets}
    last = {name.rpartition(".")[2] for name in adapted}
    for name, _ in model.named_modules():
        parent, _, own = name.rpartition(".")
        if own in last and name not in adapted and parent not in adapted:
            return sorted(adapted)
    return sorted(last)


def _plain(value: Any) -> Any:
    """Return what JSON holds: sets as sorted lists, enumerations as their values."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return getattr(value, "value", value)
