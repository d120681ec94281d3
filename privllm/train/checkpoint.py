"""Checkpoints without pickle: one safetensors file that appears whole or not at all.

Lightning hands over a nested dict; its tensors go into the file by number, all the rest as JSON into the file's
header, beside the key that says which run may go on from it. It keeps one checkpoint, the latest.
"""

import json
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from privllm.core.digests import sync

NAME = "latest.safetensors"
PLAIN = (str, int, float, bool, type(None))


def encode(value: Any, tensors: list[torch.Tensor]) -> Any:
    """`value` as JSON that `decode` turns back exactly; tensors are moved to the list. Raises TypeError for other things."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if isinstance(value, dict):
        return {"dict": [[encode(k, tensors), encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [encode(item, tensors) for item in value]}
    if type(value) not in PLAIN:
        raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}: {value!r}")
    return value


def decode(value: Any, tensors: list[torch.Tensor]) -> Any:
    """The inverse of `encode`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {decode(k, tensors): decode(v, tensors) for k, v in content}
    items = [decode(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


class SafeCheckpointIO(CheckpointIO):
    """Lightning's door to the disk, for checkpoints that belong to `key`."""

    def __init__(self, key: str) -> None:
        self.key = key

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        tensors: list[torch.Tensor] = []
        tree = json.dumps(encode(checkpoint, tensors))
        # Tied weights share memory, which safetensors refuses: every entry gets bytes of its own.
        named = {str(i): tensor.detach().cpu().contiguous().clone() for i, tensor in enumerate(tensors)}
        partial = Path(f"{path}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        save_file(named, partial, metadata={"key": self.key, "tree": tree})
        sync(partial)
        partial.replace(path)
        sync(partial.parent)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            assert metadata["key"] == self.key, "a checkpoint of another run: ask `resumable` first"
            tensors = [file.get_tensor(str(i)) for i in range(len(list(file.keys())))]
        return decode(json.loads(metadata["tree"]), tensors)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def resumable(folder: Path, key: str) -> Path | None:
    """The checkpoint in `folder` if a run of `key` wrote it; damaged ones and those of other runs do not count."""
    path = folder / NAME
    try:
        with safe_open(path, framework="pt") as file:
            return path if file.metadata().get("key") == key else None
    except (OSError, SafetensorError):
        return None


class KeepLatest(Callback):
    """Saves every `every` steps. Must come after every callback whose state is to be in the checkpoint."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0 and not trainer.should_stop:
            trainer.save_checkpoint(self.folder / NAME, weights_only=False)
