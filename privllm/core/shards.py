"""A map of a function over shards, on all cores.

`map_shards(clean_shard, jobs, "clean")` calls `clean_shard(*job)` once per job and returns the results in the
order of the jobs. The function must be a module-level pure function of its arguments that writes only to the
path it is given; the results must be small (counts). It knows nothing of documents.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from privllm.core.errors import UserError
from privllm.core.progress import bar

Result = TypeVar("Result")
INLINE_BYTES = 2 << 20  # below this, starting processes costs more than they save


def map_shards(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], label: str, inline_bytes: int = INLINE_BYTES
) -> list[Result]:
    """`[function(*job) for job in jobs]`, in processes when the files named in `jobs` hold `inline_bytes` or more."""
    sizes = [_bytes_of(job) for job in jobs]
    workers = min(len(jobs), len(os.sched_getaffinity(0)))
    with bar(label, total=sum(sizes) or 1) as advance:
        if workers < 2 or sum(sizes) < inline_bytes:
            return _inline(function, jobs, sizes, advance)
        return _in_processes(function, jobs, sizes, advance, workers)


def _inline(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], sizes: list[int], advance: Callable[[float], None]
) -> list[Result]:
    results = []
    for job, size in zip(jobs, sizes, strict=True):
        results.append(function(*job))
        advance(size)
    return results


def _in_processes(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], sizes: list[int], advance: Callable[[float], None], workers: int
) -> list[Result]:
    context = multiprocessing.get_context("forkserver")  # fork would copy Arrow's and polars' threads half-alive
    context.set_forkserver_preload([function.__module__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_die_quietly_on_interrupt)
    try:
        # Largest first, so that no core idles at the end behind one big shard.
        order = sorted(range(len(jobs)), key=lambda i: -sizes[i])
        futures: dict[Future[Result], int] = {pool.submit(function, *jobs[i]): i for i in order}
        pending = set(futures)
        while pending:
            done, pending = wait_for(pending, return_when="FIRST_COMPLETED")
            for future in done:
                future.result()
                advance(sizes[futures[future]])
        by_index = {i: future.result() for future, i in futures.items()}
        return [by_index[i] for i in range(len(jobs))]
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, most likely because memory ran out. "
            "Nothing is lost: close other programs and run `dvc repro` again."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _die_quietly_on_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _bytes_of(job: tuple[Any, ...]) -> int:
    return sum(part.stat().st_size for part in job if isinstance(part, Path) and part.is_file())
