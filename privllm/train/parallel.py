"""Several processes that train one model: each takes its share of a step's rows, and their gradients are added up.

All hold the whole model and make the same update of the same sum, so their weights stay equal bit by bit. The first one writes all
there is to write, and starts the others: each is the same command once more, which comes to the same training and ends there. Under
torchrun, or whatever sets its variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), the processes are there already, on
one machine or many with a common folder. The model is not cut into pieces: each device must hold all of it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, NamedTuple

import torch
import torch.distributed as dist

from privllm.core.errors import UserError
from privllm.models.devices import on_gpu

RANK, PORT = "PRIVLLM_RANK", "PRIVLLM_PORT"  # what the first process tells the others
HERE = "127.0.0.1"
PATIENCE = timedelta(minutes=30)  # of one process with another
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


class Peer(NamedTuple):
    """Another process, and what it says."""

    process: subprocess.Popen
    log: IO[bytes]


ALONE = Group()


def group() -> Group:
    """Return the processes that this one trains with."""
    return Group(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


def local_rank() -> int:
    """Return which of this machine's GPUs is this process's own."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get(RANK, "0")))


@contextmanager
def joined(processes: int) -> Iterator[Group]:
    """Train with `processes` processes inside the `with`, which all but the first leave by ending.

    Raises UserError where one of them has ended too early.
    """
    if processes == 1:
        yield ALONE
        return
    peers = _join(processes)
    size = group().size
    try:
        yield group()
        if not group().writes:
            raise SystemExit(0)
    except (RuntimeError, dist.DistBackendError) as error:
        if not any(word in str(error) for word in LOST):
            raise
        raise UserError(
            f"one of the {size} processes of this training has ended{_last_words(peers)}. "
            "Run the same command again: it goes on from the last checkpoint."
        ) from error
    finally:
        dist.destroy_process_group()
        for peer in peers:
            _end(peer)


def _join(processes: int) -> list[Peer]:
    """Enter the group of this process's training; return the processes that were started for that."""
    backend = "nccl" if on_gpu() else "gloo"
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group(backend, timeout=PATIENCE)
        return []
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine
    rank = int(os.environ.get(RANK, "0"))
    store = dist.TCPStore(HERE, int(os.environ.get(PORT, "0")), processes, is_master=not rank, wait_for_workers=False)
    peers = []
    if not rank:
        for number in range(1, processes):
            told = {RANK: str(number), PORT: str(store.port)}
            command = [sys.executable, *sys.orig_argv[1:]]
            log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `_end`
            process = subprocess.Popen(command, env=os.environ | told, stdout=subprocess.DEVNULL, stderr=log)
            peers.append(Peer(process, log))
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=PATIENCE)
    return peers


def _last_words(peers: list[Peer]) -> str:
    """Return what a process that has ended said last, in brackets."""
    for peer in peers:
        if peer.process.poll():
            peer.log.seek(0)
            lines = [line for line in peer.log.read().decode("utf-8", "replace").splitlines() if line.strip()]
            return f" ({lines[-1].strip()})" if lines else ""
    return ""


def _end(peer: Peer) -> None:
    """Wait for a process that should end by itself, and end it where it does not."""
    try:
        peer.process.wait(10)
    except subprocess.TimeoutExpired:
        peer.process.kill()
        peer.process.wait()
    peer.log.close()


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


def wait_for_all() -> None:
    """Wait until all processes are here."""
    if group().size > 1:
        dist.barrier()
