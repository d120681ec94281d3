"""A map of a function over shards, on all cores.

`map_shards(clean_shard, jobs, "clean")` calls `clean_shard(*job)` once per job and returns the results in the
order of the jobs. The function must be a module-level pure function of its arguments that writes only to the
path it is given; the results must be small (counts). It knows nothing of documents, and of no other machine
(`engine.executor_ray` does).
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
AHEAD = 2  # jobs handed to each other process before it has asked for them


class Executor(Protocol):
    """What `map_shards` is, and `engine.executor_ray` for other machines: same arguments, same results, same bytes."""

    def __call__(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], label: str, inline_bytes: int | None = None
    ) -> list[Any]: ...


def map_shards(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], label: str, inline_bytes: int | None = None
) -> list[Result]:
    """`[function(*job) for job in jobs]`, on all cores when the files named in `jobs` hold `inline_bytes` or more.

    This process works too, so it has something to do while the others start, and there is one fewer of them.
    """
    sizes = [bytes_of(job) for job in jobs]
    few = inline_bytes if inline_bytes is not None else FORKED_INLINE_BYTES if _can_fork() else INLINE_BYTES
    workers = min(len(jobs), available_cores()) if sum(sizes) >= few else 1
    # Largest first, so that no core idles at the end behind one big shard.
    order = deque(sorted(range(len(jobs)), key=lambda i: -sizes[i]))
    results: dict[int, Result] = {}
    elsewhere: dict[Future[Result], int] = {}

    def hand_out() -> None:
        while pool and order and len(elsewhere) < AHEAD * (workers - 1):
            job = order.popleft()
            elsewhere[pool.submit(function, *jobs[job])] = job

    with _pool(function, workers - 1) as pool:
        with interrupts_held():
            hand_out()  # before the bar, whose thread a fork must not meet
        with bar(label, total=sum(sizes) or 1) as advance:
            while order or elsewhere:
                if order:
                    job = order.popleft()
                    results[job] = function(*jobs[job])
                    advance(sizes[job])
                for future in wait_for(elsewhere, 0 if order else None, return_when="FIRST_COMPLETED").done:
                    job = elsewhere.pop(future)
                    results[job] = future.result()
                    advance(sizes[job])
                hand_out()
    return [results[job] for job in range(len(jobs))]


@contextmanager
def _pool(function: Callable[..., Any], workers: int) -> Iterator[ProcessPoolExecutor | None]:
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
    """A forked worker starts in 0.02 s instead of 0.6. Arrow's threads survive it, those of rensa do not."""
    return sys.platform == "linux" and not UNFORKABLE & sys.modules.keys()


def _context(module: str) -> BaseContext:
    if _can_fork():
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    guarded = ["stages"] if GUARDED in os.environ else []  # before all others, so that a stage's workers load what the stage would
    context.set_forkserver_preload([*guarded, module])
    return context


def _start_worker() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # to die quietly
    keep_pandas_out()


def bytes_of(job: tuple[Any, ...]) -> int:
    """Of the files named in a job."""
    return sum(path.stat().st_size for path in files_in(job))


def files_in(job: tuple[Any, ...]) -> Iterator[Path]:
    """The files named in a job, in the tuples within it too."""
    for part in job:
        if isinstance(part, tuple):
            yield from files_in(part)
        elif isinstance(part, Path) and part.is_file():
            yield part
