"""A map of a function over shards on a Ray cluster: `engine.executor.map_shards` for many machines, with the same bytes.

`executor.address` in params.yaml says where work is done, and nothing else: no stage declares it, no key takes it. What it
needs is checked on every machine before that works: the repository and DVC's cache at the same path (a shared file system),
and the code, libraries and Python that the stage's fingerprint names. It starts, stops and installs nothing on any machine.
Ray is imported only where an address is given.
"""

import logging
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import privllm
import privllm.core.offline  # a worker on another machine imports this module before any other of ours
from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE, read_params, require
from privllm.core.progress import bar
from privllm.core.tables import keep_pandas_out
from privllm.core.work_paths import WORK_FOLDER
from privllm.engine.digests import unique
from privllm.engine.executor import INLINE_BYTES, Executor, bytes_of, files_in, map_shards
from privllm.engine.fingerprint import check_fingerprint
from privllm.engine.import_guard import require_hashed_code

AHEAD = 2  # jobs handed out for each CPU of the cluster: one it works on, one on its way
RETRIES = 3  # of a job whose machine or process died
CONNECT_SECONDS = 5
ANSWER_SECONDS = 60  # that a machine may take to start a worker
STALE_SECONDS = 60  # for which a network file system may show an old version of a file (NFS: acregmax)

Seen = list[tuple[str, int, int]]  # path, bytes, modified ns


@dataclass
class ExecutorConfig:
    address: str = ""  # "" = this machine's cores; host:port of a Ray cluster of which this machine is a node
    checkpoint_minutes: float = 5.0  # of training between two checkpoints, >= 0; Ctrl-C and SIGTERM save one at once

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        known = not self.address or (bool(host) and port.isdigit() and "/" not in host)
        require(known, "executor.address", "'' (this machine's cores) or host:port of a Ray cluster")
        require(self.checkpoint_minutes >= 0, "executor.checkpoint_minutes", "0 or more")


class Place(NamedTuple):
    """What a worker must find as the stage does."""

    root: str  # the repository
    beacon: str  # a file in it that was written just now
    package: str  # where privllm was imported from
    stage: str


def executor_of(stage: str) -> Executor:
    """Where params.yaml says that the shards of a stage are worked on."""
    address = read_params("executor", ExecutorConfig).address
    return RayExecutor(address, stage) if address else map_shards


@dataclass(frozen=True)
class RayExecutor:
    """An `Executor`. It stays in this process, or on this machine, where a cluster would cost more than it saves."""

    address: str
    stage: str

    def __call__(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], label: str, inline_bytes: int | None = None
    ) -> list[Any]:
        sizes = [bytes_of(job) for job in jobs]
        if len(jobs) < 2 or sum(sizes) < (INLINE_BYTES if inline_bytes is None else inline_bytes):
            return map_shards(function, jobs, label, inline_bytes)
        with _connected(self.address) as ray, _beacon() as beacon, _explained(ray):
            place = Place(str(Path.cwd()), str(beacon), _package(), self.stage)
            _probe(ray, place)
            return _run(ray, place, function, jobs, sizes, label)


def _run(ray: Any, place: Place, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], sizes: list[int], label: str) -> list[Any]:
    work = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
    order = deque(sorted(range(len(jobs)), key=lambda i: -sizes[i]))  # largest first, as in `map_shards`
    results: dict[int, Any] = {}
    elsewhere: dict[Any, int] = {}
    with bar(label, total=sum(sizes) or 1) as advance:
        while order or elsewhere:
            ahead = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))  # machines may come and go
            while order and len(elsewhere) < ahead:
                job = order.popleft()
                elsewhere[work.remote(place, _seen(jobs[job]), function, jobs[job])] = job
            ray.wait(list(elsewhere), num_returns=1)
            for done in ray.wait(list(elsewhere), num_returns=len(elsewhere), timeout=0)[0]:
                job = elsewhere.pop(done)
                results[job] = ray.get(done)
                advance(sizes[job])
    return [results[job] for job in range(len(jobs))]


def _work(place: Place, seen: Seen, function: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    """One job, in a worker somewhere."""
    _settled(place)
    require_seen(seen)
    return function(*job)


def settle(place: Place) -> None:
    """Make this process one that works as the stage does. Raises UserError, with the machine's name, where it cannot be."""
    try:
        if not Path(place.root, place.beacon).is_file():
            raise UserError(f"it does not see {place.beacon} in {place.root}: the repository must lie there, on a shared file system.")
        os.chdir(place.root)
        if _package() != place.package:
            raise UserError(f"it runs {_package()} instead of {place.package}: uninstall the other privllm there.")
        check_fingerprint(place.stage)
        require_hashed_code(Path())
    except (UserError, OSError) as error:
        raise UserError(f"machine {platform.node()} cannot take part in this build: {error} Mend it, or take it off the cluster.") from None
    keep_pandas_out()


_settled = cache(settle)  # once in each worker process, so on machines that join later too


def require_seen(seen: Seen, patience: float = STALE_SECONDS) -> None:
    """Wait until this machine sees the files as the one that asked does. Raises UserError where that does not come about."""
    deadline = time.monotonic() + patience
    for path, size, modified in seen:
        while _status(path) != (size, modified):
            if time.monotonic() > deadline:
                raise UserError(
                    f"machine {platform.node()} does not see {path} as the machine that started the stage does. Either it was changed "
                    "while this ran, or the file system is not shared, or late by over a minute. Mend that and run `dvc repro` again."
                )
            time.sleep(0.5)


def _seen(job: tuple[Any, ...]) -> Seen:
    return [(str(path), *(_status(str(path)) or (0, 0))) for path in files_in(job)]


def _status(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _package() -> str:
    return str(Path(privllm.__file__ or "").resolve())


def _probe(ray: Any, place: Place) -> None:
    """Refuse to start where a machine cannot work as this one does."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    machines = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}
    if not machines:
        raise UserError("no machine of the Ray cluster offers a CPU: see `ray status`.")
    probe = ray.remote(num_cpus=0, max_retries=0)(settle)
    asked = {
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(place): name
        for node, name in machines.items()
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)
    if silent:
        raise UserError(f"machine {asked[silent[0]]} of the Ray cluster started no worker in {ANSWER_SECONDS} s: see `ray status` there.")
    for answer in answered:
        try:
            ray.get(answer)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            continue  # it died meanwhile, and will not be asked to work


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"`executor.address` in {PARAMS_FILE} names a Ray cluster, and Ray cannot be imported here ({error}): "
            "run `pip install 'privllm[ray]'` (in the repository: `make ray`), or set it to ''."
        ) from None
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()  # Ray would try for ever, deaf to signals
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
        ray.shutdown()  # whatever is still running or waiting ends with it


@contextmanager
def _beacon() -> Iterator[Path]:
    WORK_FOLDER.mkdir(exist_ok=True)
    path = WORK_FOLDER / f"beacon-{unique()}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _explained(ray: Any) -> Iterator[None]:
    """What a job raised, as it raised it; what happened to its machine, in words."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except (ray.exceptions.OutOfMemoryError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError):
        raise UserError(
            "a worker process of the Ray cluster was killed, on each attempt at the same shard, most likely because memory ran out. "
            "Nothing is lost: offer fewer CPUs on each machine (`ray start --num-cpus`) and run `dvc repro` again."
        ) from None
    except ray.exceptions.RayError as error:
        raise UserError(f"the Ray cluster failed: {_first_line(error)}. Nothing is lost: run `dvc repro` again.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
