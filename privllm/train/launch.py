"""How the processes of a training come to be: started here, by torchrun, or by SLURM's srun on the machines of an allocation.

Each is the same command once more, which comes to the same training. On one machine the first process starts the others. On several
(`train.nodes`) somebody must: torchrun, whose variables are found (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); or, in an
allocation of SLURM, this process calls srun, which starts all of them, waits, and trains nothing itself.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from datetime import timedelta
from typing import IO, NamedTuple

import torch
import torch.distributed as dist

from privllm.core.errors import UserError
from privllm.models.device_config import chosen
from privllm.models.devices import on_gpu, own_gpu

RANK, PORT = "PRIVLLM_RANK", "PRIVLLM_PORT"  # what the first process tells the others
BY_SRUN = "PRIVLLM_BY_SRUN"  # what the process that called srun tells all of them
LOOPBACK = "127.0.0.1"
# How long one process waits for another, which may judge what was trained; a death is noticed at once.
PATIENCE = timedelta(hours=12)


class Peer(NamedTuple):
    """Another process, and what it says."""

    process: subprocess.Popen
    log: IO[bytes]


def local_rank() -> int:
    """Return which of this machine's GPUs is this process's own."""
    rank = os.environ.get("LOCAL_RANK", os.environ.get(RANK))
    if rank is None:
        return own_gpu() if chosen().processes == 1 else 0
    return int(rank) % max(1, torch.cuda.device_count())  # SLURM may show each process one GPU only


def join(processes: int) -> list[Peer]:
    """Enter the group of this process's training; return the processes that were started for that.

    Raises UserError where nothing can start processes on several machines, or another number of them was started; SystemExit where
    srun has run the whole command.
    """
    if BY_SRUN in os.environ:
        _take_variables_of_srun()
    if "WORLD_SIZE" in os.environ:
        _require_so_many(int(os.environ["WORLD_SIZE"]), processes)
        _enter(None, int(_variable("RANK", "WORLD_SIZE")), processes)
        return []
    if chosen().nodes > 1:
        _run_by_srun(processes)
        raise SystemExit(0)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine
    rank = int(os.environ.get(RANK, "0"))
    store = dist.TCPStore(
        LOOPBACK, int(os.environ.get(PORT, "0")), processes, is_master=not rank, wait_for_workers=False
    )
    peers = [] if rank else [_start(number, store.port) for number in range(1, processes)]
    _enter(store, rank, processes)
    return peers


def _enter(store: dist.Store | None, rank: int, processes: int) -> None:
    """Meet the others. Flags of the CPU go beside gradients of GPUs, so that asking each other waits for none of them."""
    backend = "cpu:gloo,cuda:nccl" if on_gpu() else "gloo"
    if on_gpu():
        torch.cuda.set_device(local_rank())
    dist.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=processes)


def _start(number: int, port: int) -> Peer:
    told = {RANK: str(number), PORT: str(port)}
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
    process = subprocess.Popen(_own_command(), env=os.environ | told, stdout=subprocess.DEVNULL, stderr=log)
    return Peer(process, log)


def _own_command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


def _require_so_many(started: int, processes: int) -> None:
    if started != processes:
        cfg = chosen()
        raise UserError(
            f"{started} processes were started, but `train` in params.yaml asks for {processes} (devices {cfg.devices} x nodes "
            f"{cfg.nodes}): start as many, or change `train`, which trains again."
        )


def _take_variables_of_srun() -> None:
    """Say what srun says in the words of torchrun."""
    for ours, theirs in (("RANK", "SLURM_PROCID"), ("LOCAL_RANK", "SLURM_LOCALID"), ("WORLD_SIZE", "SLURM_NTASKS")):
        os.environ[ours] = _variable(theirs, BY_SRUN)


def _variable(name: str, beside: str) -> str:
    """Return a variable of a launcher's. Raises UserError where it is not set, though another one is."""
    if name not in os.environ:
        raise UserError(
            f"{beside} is set, as torchrun and srun do, but {name} is not: start this by one of them, or unset {beside}."
        )
    return os.environ[name]


def _run_by_srun(processes: int) -> None:
    """Run this command on all machines of the allocation. Raises UserError where there is none, or where srun fails."""
    srun = shutil.which("srun")
    if not srun or "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"`train.nodes` in params.yaml is {chosen().nodes}, but nothing here starts processes on other machines: run the build as "
            "a job of SLURM (docs/guides/several-machines.md), start this stage by torchrun, or set `nodes` to 1."
        )
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = str(probe.getsockname()[1])
    address = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    told = {BY_SRUN: "1", "MASTER_ADDR": address, "MASTER_PORT": port}
    counts = [f"--nodes={chosen().nodes}", f"--ntasks={processes}", f"--ntasks-per-node={chosen().devices}"]
    command = [srun, *counts, "--kill-on-bad-exit=1", "--wait=0", *_own_command()]
    process = subprocess.Popen(command, env=os.environ | told, stderr=subprocess.PIPE)
    last_line = ""
    try:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.buffer.write(line)
            sys.stderr.flush()
            last_line = line.decode("utf-8", "replace").strip() or last_line
        process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)  # which srun hands on: the first process saves its last step
        process.wait()
        raise
    if process.returncode:
        raise UserError(
            f"srun ended with code {process.returncode} ({last_line}). Where a machine has died, run the same command again: "
            "it goes on from the last checkpoint."
        )


def last_words(peers: list[Peer]) -> str:
    """Return by what signal a process has ended, or what it said last, in brackets."""
    for peer in peers:
        code = peer.process.poll()
        if code and code < 0:
            return f" (by {signal.Signals(-code).name})"
        if code:
            peer.log.seek(0)
            lines = peer.log.read().decode("utf-8", "replace").splitlines()
            said = [line.strip() for line in lines if line.strip() and not line.startswith("note:")]
            return f" ({said[-1]})" if said else ""
    return ""


def end(peer: Peer) -> None:
    """Wait for a process that should end by itself, and end it where it does not."""
    try:
        peer.process.wait(10)
    except subprocess.TimeoutExpired:
        peer.process.kill()
        peer.process.wait()
    peer.log.close()
