"""Several processes that train one model: each takes its share of a step's rows, and their gradients are added up.

All make the same update of the same sum, so their weights stay equal bit by bit; whether each holds the whole model or a share of it,
`sharding` knows. The first one writes all there is to write. How they come to be, on one machine or many, `launch` knows.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist

from privllm.core.errors import UserError
from privllm.train.launch import end, join, last_words

# In errors about a process that is gone.
LOST = ("Connection closed", "Connection reset", "Broken pipe", "gloo", "NCCL")
BUCKET = 1 << 25  # numbers that are added up at once


class Group(NamedTuple):
    """The processes of a training."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Return whether this process writes files and messages."""
        return self.rank == 0


ALONE = Group()


def group() -> Group:
    """Return the processes that this one trains with."""
    return Group(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


@contextmanager
def joined(processes: int) -> Iterator[Group]:
    """Train with `processes` processes inside the `with`, which all but the first leave by ending.

    Inside another one it changes nothing. Raises UserError where one of them has ended too early.
    """
    if processes == 1 or dist.is_initialized():
        yield group()
        return
    peers = join(processes)
    size = group().size
    try:
        yield group()
        if not group().writes:
            raise SystemExit(0)
    except RuntimeError as error:
        if not has_lost_another(error):
            raise
        raise UserError(
            f"one of the {size} processes of this training has ended{last_words(peers)}. "
            "Run the same command again: it goes on from the last checkpoint."
        ) from error
    finally:
        dist.destroy_process_group()
        for peer in peers:
            end(peer)


def has_lost_another(error: BaseException) -> bool:
    """Return whether an error says that another process of this training is gone."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)  # torch's own are subclasses


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replace tensors of one type by their sums over all processes, in place."""
    if group().size == 1:
        return
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(each.numel() for each in bucket) >= BUCKET:
            _add_up(bucket)
            bucket = []
    if bucket:
        _add_up(bucket)


def _add_up(tensors: list[torch.Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def any_says(*answers: bool) -> tuple[bool, ...]:
    """Return for each question whether any process answers yes; all must ask."""
    flags = torch.tensor([int(answer) for answer in answers])
    if group().size > 1:
        dist.all_reduce(flags, dist.ReduceOp.MAX)
    return tuple(bool(flag) for flag in flags)


def first_says(numbers: Sequence[int]) -> list[int]:
    """Return what the first process says, to all; all must ask, and wait for it."""
    said = torch.tensor(list(numbers))
    if group().size > 1:
        dist.broadcast(said, 0)
    return said.tolist()


def wait_for_all() -> None:
    """Wait until all processes are here."""
    any_says(True)
