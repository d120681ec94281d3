"""A map of a function over shards, on all cores.

`map_shards(clean_shard, jobs, "clean")` calls `clean_shard(*job)` once per job and returns the
results in the order of the jobs. The function must be a module-level pure function of its arguments
that writes only to the path it gets; the results must be small (counts). Documents mean nothing to
it, nor do other machines (`engine.executor_ray` is for those).
"""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Protocol, TypeVar

from privllm.core.cores import available_cores
from privllm.core.errors import UserError
from privllm.core.progress import bar
from privllm.core.tables import keep_pandas_out
from privllm.engine.import_guard import GUARDED
from privllm.engine.interrupt import SIGNALS, interrupts_held

Result = TypeVar("Result")
INLINE_BYTES = 4 << 20  # below this, starting processes costs more than they save
FORKED_INLINE_BYTES = 1 << 19
UNFORKABLE = {"rensa", "torch", "great_expectations", "ray"}
AHEAD = 2  # jobs queued for each worker process before it asks for them


class Executor(Protocol):
    """The signature of `map_shards`, and of `engine.executor_ray` for other machines.

    Both give equal results and equal bytes.
    """

    def __call__(
        self,
        function: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        label: str,
        inline_bytes: int | None = None,
        apart: bool = False,
    ) -> list[Any]: ...


def map_shards(
    function: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    label: str,
    inline_bytes: int | None = None,
    apart: bool = False,
) -> list[Result]:
    """Return `[function(*job) for job in jobs]`.

    All cores work on it when the files named in `jobs` hold `inline_bytes` or more. This process is
    one of the workers, so it is busy while the others start, and there is one fewer of them. With `apart`
    it only waits for them, where there are several: what the function imports would keep it from being forked for the next map.
    """
    sizes = [bytes_of(job) for job in jobs]
    if inline_bytes is None:
        inline_bytes = FORKED_INLINE_BYTES if _can_fork() else INLINE_BYTES
    workers = min(len(jobs), available_cores()) if sum(sizes) >= inline_bytes else 1
    takes_part = workers == 1 or not apart
    others = workers - 1 if takes_part else workers  # other processes
    queue = largest_first(sizes)
    results: dict[int, Result] = {}
    running: dict[Future[Result], int] = {}  # in other processes

    def submit_ahead() -> None:
        while pool and queue and len(running) < AHEAD * others:
            index = queue.popleft()
            running[pool.submit(function, *jobs[index])] = index

    with _pool(function, others) as pool:
        with interrupts_held():
            submit_ahead()  # before the bar starts its thread, which a fork must not copy
        with bar(label, total=sum(sizes) or 1) as advance:
            while queue or running:
                if queue and takes_part:
                    index = queue.popleft()
                    results[index] = function(*jobs[index])
                    advance(sizes[index])
                timeout = 0 if queue and takes_part else None
                for future in wait_for(running, timeout, return_when="FIRST_COMPLETED").done:
                    index = running.pop(future)
                    results[index] = future.result()
                    advance(sizes[index])
                submit_ahead()
    return [results[index] for index in range(len(jobs))]


def largest_first(sizes: Sequence[int]) -> deque[int]:
    """Return the indices of jobs, the largest first: no core idles at the end behind one big shard."""
    return deque(sorted(range(len(sizes)), key=lambda index: -sizes[index]))


@contextmanager
def _pool(function: Callable[..., Any], workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """Yield a pool of `workers` processes, None for no process.

    Raises UserError where one is killed.
    """
    if workers < 1:
        yield None
        return
    pool = ProcessPoolExecutor(workers, mp_context=_context(function.__module__), initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, most likely because memory ran out. "
            "Nothing is lost: close other programs and run `dvc repro` again."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _can_fork() -> bool:
    """Return whether workers can be forked: they start in 0.02 s instead of 0.6.

    Arrow's threads survive it, those of the `UNFORKABLE` libraries do not.
    """
    return sys.platform == "linux" and not UNFORKABLE & sys.modules.keys()


def _context(module: str) -> BaseContext:
    if _can_fork():
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    preloaded = [module]
    if GUARDED in os.environ:
        preloaded.insert(0, "stages")  # first, so that a stage's workers import the same files as the stage
    context.set_forkserver_preload(preloaded)
    return context


def _start_worker() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # to end without a traceback
    keep_pandas_out()


def bytes_of(job: tuple[Any, ...]) -> int:
    """Return the size of all files named in a job."""
    return sum(path.stat().st_size for path in files_in(job))


def files_in(job: tuple[Any, ...]) -> Iterator[Path]:
    """Yield the files named in a job and in the tuples within it."""
    for argument in job:
        if isinstance(argument, tuple):
            yield from files_in(argument)
        elif isinstance(argument, Path) and argument.is_file():
            yield argument
