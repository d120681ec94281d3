"""A map of a function over shards on a Ray cluster.

It is `engine.executor.map_shards` for many machines, with the same bytes.

`executor.address` in params.yaml says where work is done, and nothing else: no stage declares it,
and it is in no key. Before a machine works, it must have the repository and DVC's cache at the same
path (a shared file system), and the code, libraries and Python that the stage's fingerprint names.
Nothing is started, stopped or installed on any machine. Ray is imported only where an address is
set.
"""

import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import privllm
import privllm.core.offline  # a worker on another machine imports this module before any other of ours
from privllm.core.errors import UserError
from privllm.core.missing_library import missing_library
from privllm.core.params import PARAMS_FILE, read_params, require
from privllm.core.progress import bar
from privllm.core.tables import keep_pandas_out
from privllm.core.work_paths import WORK_FOLDER
from privllm.engine.digests import unique
from privllm.engine.executor import INLINE_BYTES, Executor, bytes_of, files_in, largest_first, map_shards
from privllm.engine.fingerprint import check_fingerprint
from privllm.engine.import_guard import require_hashed_code

AHEAD = 2  # jobs submitted for each CPU of the cluster: one it works on, one on its way
RETRIES = 3  # of a job whose machine or process died
CONNECT_SECONDS = 5
ANSWER_SECONDS = 60  # that a machine may take to start a worker
STALE_SECONDS = 60  # for which a network file system may show an old version of a file (NFS: acregmax)

FileStates = list[tuple[str, int, int]]  # path, bytes, modified ns


@dataclass
class ExecutorConfig:
    """Where and how work is done, and how often a training is saved: what changes no result."""

    address: str = ""  # "" = this machine's cores; host:port of a Ray cluster of which this machine is a node
    checkpoint_minutes: float = 5.0  # of training between two checkpoints, >= 0; Ctrl-C and SIGTERM save one at once
    batch_workers: int = 0  # processes that make a training's batches ahead, 0-64; beside a GPU 2 are enough
    recompute: str = "auto"  # a pass's activations in its backward half: always, never, or auto: where it keeps more than 6 GiB (GPU: 24)

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        is_host_and_port = bool(host) and port.isdigit() and "/" not in host
        is_valid = not self.address or is_host_and_port
        require(is_valid, "executor.address", "'' (this machine's cores) or host:port of a Ray cluster")
        require(self.checkpoint_minutes >= 0, "executor.checkpoint_minutes", "0 or more")
        require(0 <= self.batch_workers <= 64, "executor.batch_workers", "between 0 and 64")
        require(self.recompute in ("auto", "always", "never"), "executor.recompute", "auto, always or never")


class ExpectedWorkspace(NamedTuple):
    """What a worker on another machine must have in common with the process of the stage."""

    root: str  # the repository
    beacon: str  # a file in it that was written just now
    package: str  # where privllm was imported from
    stage: str


def executor_of(stage: str) -> Executor:
    """Return the executor that params.yaml sets for the shards of a stage."""
    address = read_params("executor", ExecutorConfig).address
    return RayExecutor(address, stage) if address else map_shards


@dataclass(frozen=True)
class RayExecutor:
    """An `Executor`.

    It stays in this process, or on this machine, where a cluster would cost more than it saves.
    """

    address: str
    stage: str

    def __call__(
        self,
        function: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        label: str,
        inline_bytes: int | None = None,
        apart: bool = False,
    ) -> list[Any]:
        sizes = [bytes_of(job) for job in jobs]
        least_bytes = INLINE_BYTES if inline_bytes is None else inline_bytes
        if len(jobs) < 2 or sum(sizes) < least_bytes:
            return map_shards(function, jobs, label, inline_bytes, apart)
        with _connected(self.address) as ray, _beacon() as beacon, _explained(ray):
            workspace = ExpectedWorkspace(str(Path.cwd()), str(beacon), _package(), self.stage)
            _probe(ray, workspace)
            return _run(ray, workspace, function, jobs, sizes, label)


def _run(
    ray: Any,
    workspace: ExpectedWorkspace,
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    sizes: list[int],
    label: str,
) -> list[Any]:
    """Return the results of the jobs in their order; `sizes` in bytes decide which begins first."""
    remote_job = ray.remote(num_cpus=1, max_retries=RETRIES)(_run_job)
    queue = largest_first(sizes)
    results: dict[int, Any] = {}
    running: dict[Any, int] = {}
    with bar(label, total=sum(sizes) or 1) as advance:
        while queue or running:
            cpus = int(ray.cluster_resources().get("CPU", 1))  # asked again, for machines may come and go
            while queue and len(running) < AHEAD * max(1, cpus):
                index = queue.popleft()
                future = remote_job.remote(workspace, _file_states(jobs[index]), function, jobs[index])
                running[future] = index
            ray.wait(list(running), num_returns=1)
            finished, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
            for future in finished:
                index = running.pop(future)
                results[index] = ray.get(future)
                advance(sizes[index])
    return [results[index] for index in range(len(jobs))]


def _run_job(
    workspace: ExpectedWorkspace,
    states: FileStates,
    function: Callable[..., Any],
    job: tuple[Any, ...],
) -> Any:
    """Run one job in a worker process, on any machine."""
    _prepare_worker_once(workspace)
    require_file_states(states)
    return function(*job)


def prepare_worker(workspace: ExpectedWorkspace) -> None:
    """Move this process into the workspace of the stage.

    Raises UserError, with the machine's name, where that is missing or another one.
    """
    root, beacon, package, stage = workspace
    try:
        if not Path(root, beacon).is_file():
            raise UserError(
                f"it does not see {beacon} in {root}: the repository must lie there, on a shared file system."
            )
        os.chdir(root)
        if _package() != package:
            raise UserError(f"it runs {_package()} instead of {package}: uninstall the other privllm there.")
        check_fingerprint(stage)
        require_hashed_code(Path())
    except (UserError, OSError) as error:
        raise UserError(
            f"machine {platform.node()} cannot take part in this build: {error} Fix it, or take it off the cluster."
        ) from None
    keep_pandas_out()


_prepare_worker_once = cache(prepare_worker)  # in each worker process, so on machines that join later too


def require_file_states(states: FileStates, patience: float = STALE_SECONDS) -> None:
    """Wait until this machine sees the files in the states that the stage's machine sees.

    Raises UserError where one is still in another state after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    for path, size, modified in states:
        while _status(path) != (size, modified):
            if time.monotonic() > deadline:
                raise UserError(
                    f"machine {platform.node()} does not see {path} as the machine that started the "
                    "stage does. Either it was changed while this ran, or the file system is not "
                    "shared, or late by over a minute. Fix that and run `dvc repro` again."
                )
            time.sleep(0.5)


def _file_states(job: tuple[Any, ...]) -> FileStates:
    """Return the states of the files that a job names; a file that is missing has size 0."""
    states = []
    for path in files_in(job):
        size, modified = _status(str(path)) or (0, 0)
        states.append((str(path), size, modified))
    return states


def _status(path: str) -> tuple[int, int] | None:
    """Return (bytes, modified ns) of a file, None where it is missing."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _package() -> str:
    """Return the file that privllm was imported from."""
    return str(Path(privllm.__file__ or "").resolve())


def _probe(ray: Any, workspace: ExpectedWorkspace) -> None:
    """Raise UserError where a machine of the cluster cannot work as this one does."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = ray.remote(num_cpus=0, max_retries=0)(prepare_worker)
    probes: dict[Any, str] = {}  # {future: name of the machine}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            future = probe.options(scheduling_strategy=strategy).remote(workspace)
            probes[future] = node["NodeManagerHostname"]
    if not probes:
        raise UserError("no machine of the Ray cluster offers a CPU: see `ray status`.")
    answered, unanswered = ray.wait(list(probes), num_returns=len(probes), timeout=ANSWER_SECONDS)
    if unanswered:
        machine = probes[unanswered[0]]
        raise UserError(
            f"machine {machine} of the Ray cluster started no worker in {ANSWER_SECONDS} s: see `ray status` there."
        )
    for future in answered:
        try:
            ray.get(future)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            continue  # it died meanwhile, and will not be asked to work


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster. Raises UserError where that fails."""
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"`executor.address` in {PARAMS_FILE} names a Ray cluster, but {missing_library(error) or error} Or set it to ''."
        ) from None
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection(
            (host, int(port)), CONNECT_SECONDS
        ).close()  # Ray would try for ever and ignore signals
    except (OSError, OverflowError) as error:
        raise UserError(
            f"the Ray cluster `{address}` (`executor.address` in {PARAMS_FILE}) cannot be reached: {error}. "
            "Start it (`ray start --head`), or set the address to '' for this machine's cores."
        ) from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"the Ray cluster `{address}` (`executor.address` in {PARAMS_FILE}) cannot be used from here: {_first_line(error)}. "
            "This machine must be one of its nodes: `ray start --address=HOST:PORT` makes it one."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()  # jobs that are still running or waiting end with it


@contextmanager
def _beacon() -> Iterator[Path]:
    """Yield a new file of the work folder, by which other machines recognise this repository."""
    WORK_FOLDER.mkdir(exist_ok=True)
    path = WORK_FOLDER / f"beacon-{unique()}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _explained(ray: Any) -> Iterator[None]:
    """Raise what a job raised, and a UserError for what happened to its machine."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except (ray.exceptions.OutOfMemoryError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError):
        raise UserError(
            "a worker process of the Ray cluster was killed, on each attempt at the same shard, most "
            "likely because memory ran out. Nothing is lost: offer fewer CPUs on each machine "
            "(`ray start --num-cpus`) and run `dvc repro` again."
        ) from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"the Ray cluster failed: {_first_line(error)}. Nothing is lost: run `dvc repro` again.",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
