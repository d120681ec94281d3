"""Checkpoints without pickle: one safetensors file that appears whole or not at all.

Lightning hands over a nested dict; its tensors go into the file by number, all the rest as JSON into the file's
header, beside the key that says which run may go on from it. It keeps one checkpoint, the latest. Of tensors that are cut each
process writes its rows into a file of its own (`shares`).
"""

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Callback
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.distributed.device_mesh import DeviceMesh

from privllm.core.errors import UserError
from privllm.engine.digests import sync
from privllm.engine.interrupt import Interrupts, Terminated
from privllm.models.devices import on_gpu
from privllm.train.parallel import any_says, group, has_lost_another, wait_for_all
from privllm.train.sharding import is_cut, share, taken_over
from privllm.train.shares import SHARES, Shares, next_shares, shares_of

NAME = "latest.safetensors"
BEST = "best.safetensors"
DIGEST = "digest"  # in a file's header: of what its tensors hold
PLAIN = (str, int, float, bool, type(None))


def encode(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Return `value` as JSON that `decode` turns back exactly; tensors are moved to the list.

    Raises TypeError for other things.
    """
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        number = len(tensors) - 1
        return {"cut": [number, list(value.shape)]} if is_cut(value) else {"tensor": number}
    if isinstance(value, dict):
        pairs = [[encode(key, tensors), encode(item, tensors)] for key, item in value.items()]
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        items = [encode(item, tensors) for item in value]
        return {type(value).__name__: items}
    if type(value) not in PLAIN:
        raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}: {value!r}")
    return value


def decode(value: Any, tensors: Any, shares: Shares) -> Any:
    """Return the value that `encode` encoded; `tensors` has those that are not cut, by number."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "cut":
        return shares.tensor(*content)
    if kind == "dict":
        return {decode(key, tensors, shares): decode(item, tensors, shares) for key, item in content}
    items = [decode(item, tensors, shares) for item in content]
    return tuple(items) if kind == "tuple" else items


class SafeCheckpointIO(CheckpointIO):
    """Lightning's door to the disk, for checkpoints that belong to `key`; where the model is cut, all processes pass it together."""

    def __init__(self, key: str, mesh: DeviceMesh | None = None) -> None:
        self.key = key
        self.mesh = mesh  # of processes that each hold a share

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        tensors: list[torch.Tensor] = []
        tree = json.dumps(encode(checkpoint, tensors))
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.mesh is None:
            self._write(_named(tensors), path, {"tree": tree})
            return
        older, newer = shares_of(path), next_shares(path)
        own = {name: tensor for name, tensor in _named(tensors).items() if is_cut(tensors[int(name)])}
        self._write(own, newer[group().rank], {})
        wait_for_all()  # only now all of them are there
        if group().writes:
            rest = {name: tensor for name, tensor in _named(tensors).items() if not is_cut(tensors[int(name)])}
            self._write(rest, path, {"tree": tree, SHARES: json.dumps([file.name for file in newer])})
        wait_for_all()  # only now none of the older ones is needed
        if group().writes:
            for file in older:
                file.unlink(missing_ok=True)

    def _write(self, tensors: dict[str, torch.Tensor], path: Path, facts: dict[str, str]) -> None:
        partial = Path(f"{path}.partial")
        save_file(tensors, partial, metadata={"key": self.key, DIGEST: digest_of_tensors(tensors.items()), **facts})
        sync(partial)
        partial.replace(path)
        sync(partial.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            assert metadata["key"] == self.key, "a checkpoint of another run: ask `resumable` first"
            held = dict(_tensors_of(file))
            if metadata.get(DIGEST) != digest_of_tensors(held.items()):
                raise UserError(f"{path} is damaged: remove {Path(path).parent}, then the training begins again.")
            tensors: Any = {int(name): tensor for name, tensor in held.items()}
        with Shares(shares_of(Path(path)), self.mesh) as shares:
            return decode(json.loads(metadata["tree"]), tensors, shares)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def _named(tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return {number: tensor} on the CPU, of those that are cut the process's own rows, none of which share memory."""
    named = {}
    written: set[int] = set()  # where the memory of these begins
    for number, tensor in enumerate(tensors):
        on_cpu = share(tensor).detach().cpu().contiguous()
        memory = on_cpu.untyped_storage()
        # Tied weights share memory, which safetensors refuses. All others are written from where they lie.
        if memory.data_ptr() in written or memory.nbytes() != on_cpu.nbytes:
            on_cpu = on_cpu.clone()
        written.add(on_cpu.untyped_storage().data_ptr())
        named[str(number)] = on_cpu
    return named


class BestWeights:
    """The weights with the lowest held-out loss so far, and the optimiser's state beside them, in a file of `folder`.

    A run that goes on from an earlier checkpoint may find a later run's file. It does not read it before it has come to
    the step that writes it, and by then it has written the same bytes itself.
    """

    def __init__(self, folder: Path, files: SafeCheckpointIO) -> None:
        self.path = folder / BEST
        self.files = files

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if not group().writes and self.files.mesh is None:
            return
        content = {"weights": learnt_weights(model), "optimizer": optimizer.state_dict()}
        self.files.save_checkpoint(content, self.path)

    def restore(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Put the weights into the model, and with an optimiser its state into that; the first process has written them by now."""
        content = self.files.load_checkpoint(self.path)
        put_weights(model, content["weights"])
        if optimizer is not None:
            optimizer.load_state_dict(content["optimizer"])


def learnt_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return {name: parameter} of those that training changes, each once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def put_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Copy weights into the parameters of these names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            parameters[name].copy_(taken_over(weight, parameters[name]))


def _tensors_of(file: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for name in file.keys():  # noqa: SIM118 - not a dict
        yield name, file.get_tensor(name)


def digest_of_tensors(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return a digest of the tensors' names and bytes, in whatever order they come."""
    of_each = []
    for name, tensor in tensors:
        content: Any = tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy()
        of_each.append(f"{name} {blake2b(content, digest_size=16).hexdigest()}")
    return blake2b("\n".join(sorted(of_each)).encode(), digest_size=16).hexdigest()


def resumable(folder: Path, key: str) -> Path | None:
    """Return the checkpoint in `folder` if a run of `key` wrote it; damaged ones and those of other runs do not count."""
    path = folder / NAME
    try:
        for file_path in (path, *shares_of(path)):
            with safe_open(file_path, framework="pt") as file:
                if file.metadata().get("key") != key or file.metadata().get(DIGEST) != digest_of_tensors(
                    _tensors_of(file)
                ):
                    return None
    except (OSError, SafetensorError):
        return None
    return path


class KeepLatest(Callback):
    """Saves the last whole step: every `seconds`, after step `end`, when somebody interrupts (Ctrl-C, SIGTERM), or another process is gone.

    A step is abandoned at once as long as its optimiser has changed nothing, since a run that goes on makes it anew; from there to its
    end an interrupt waits. So it must come after every callback whose state belongs to the step; what comes after it (held-out losses)
    lies between two steps, and can be abandoned too.

    Where the model is cut, no process can save without the others: they agree at the end of each step, until which an interrupt waits.
    """

    def __init__(
        self, folder: Path, seconds: float, clock: Callable[[], float] = time.monotonic, together: bool = False
    ) -> None:
        self.path = folder / NAME
        self.seconds = seconds
        self.clock = clock
        self.together = together
        self.interrupts: Interrupts | None = None
        self.saved_step = 0
        self.saved_at = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.saved_step = trainer.global_step
        self.saved_at = self.clock()
        # only now: what is restored before may be half there, and is on the disk already
        self.interrupts = Interrupts(held=self.together)

    def on_before_optimizer_step(self, trainer: lightning.Trainer, module: Any, optimizer: Any) -> None:
        assert self.interrupts is not None
        self.interrupts.hold()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        assert self.interrupts is not None
        is_last = trainer.global_step >= module.schedule.end
        is_due = self.clock() - self.saved_at >= self.seconds
        is_stopped = is_terminated = False
        if self.together:
            came = self.interrupts.came
            is_due, is_stopped, is_terminated = any_says(is_due, came is not None, came == signal.SIGTERM)
        if is_last or is_due or is_stopped:
            self._save(trainer)
        if is_last or is_stopped or not self.together:
            self.interrupts.release()
        if is_stopped:  # the signal came to another process
            raise Terminated if is_terminated else KeyboardInterrupt

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        if self.interrupts is None or self.together:
            return
        # Processes wait for each other before an optimiser changes anything, never meanwhile.
        # On a GPU they only queue to wait, so there a step may be half done where another process is gone.
        has_whole_step = has_lost_another(exception) and not on_gpu()
        is_whole = has_whole_step or (isinstance(exception, KeyboardInterrupt) and not self.interrupts.held)
        if not is_whole or trainer.global_step == self.saved_step:
            return
        self.interrupts.hold()
        try:
            self._save(trainer)
        except OSError as error:
            raise UserError(
                f"interrupted after step {trainer.global_step}, which could not be saved ({error.strerror}, {self.path}); "
                f"step {self.saved_step} is what the same command goes on from."
            ) from error

    def _save(self, trainer: lightning.Trainer) -> None:
        if not group().writes and not self.together:
            return
        trainer.save_checkpoint(self.path, weights_only=False)
        self.saved_step = trainer.global_step
        self.saved_at = self.clock()
