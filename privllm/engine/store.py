"""What a shard has become once it need not become again: the build inside a stage.

`store.map(function, jobs, out, "clean")` is `[function(scratch, *job) for job in jobs]`, where `function` is pure, at module
level, writes files below `scratch` (they are moved to `out`) and returns what JSON can hold. Before a job runs, its key
is looked up: the function's name, the stage's fingerprint (what the code means, library versions), every argument, and
for arguments that are paths the file's name and content. A known key's files come from DVC's cache, where a finished job's
files are put at once. So a killed stage goes on from its finished shards, a removed document leaves every output (outputs are
made of today's jobs alone), and all experiments that share the cache share the work. Which documents or stages there are, it
does not know.
"""

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.seed import digest
from privllm.core.work_paths import DIGESTS_FILE
from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import Digests, md5_of, replacing, status_of, unique
from privllm.engine.executor import Executor, map_shards
from privllm.engine.executor_ray import executor_of
from privllm.engine.fingerprint import FOLDER

COPIERS = 4  # threads that fetch from the cache; copying holds no lock of Python's
FORMAT = 1  # of an action's key and value

work: Counter[str] = Counter()  # what this process's maps did: shards, made, bytes, bytes_made; for the log

Job = tuple[Any, ...]


class Unkeyed(NamedTuple):
    """An argument that says where to find things and cannot change the result, so it is no part of the key; executors see its files."""

    value: Any


class Before(NamedTuple):
    """What the same function made, with the same parameters, of files with the same names: last time's version of a job.

    Its paths lead into the cache and are for reading only. What it holds about a document that is still the same may be taken
    over; whether it is the same, the function must see from the documents themselves.
    """

    inputs: dict[str, Path]  # by name
    files: dict[str, Path]  # by name below `out`
    value: Any


class Store:
    """Made by `open_store` in a stage. Without a cache (`Store()`) it maps and remembers nothing."""

    def __init__(self, cache: Cache | None = None, code: str = "", digests: Digests | None = None, executor: Executor = map_shards) -> None:
        """`executor` says where jobs run."""
        self.cache, self.code, self.digests, self.executor = cache, code, digests or Digests(), executor

    def map(
        self,
        function: Callable[..., Any],
        jobs: Sequence[Job],
        out: Path,
        label: str,
        resume: bool = False,
        inline_bytes: int | None = None,
        borrow: bool = False,
    ) -> list[Any]:
        """The jobs' results in their order; their files are in `out`. Two jobs must not write the same name.

        With `resume` the function's last argument is a `Before` of each job, or None. With `borrow` files that are known need
        not be copied: `out` is for reading, and gone before the stage ends.
        """
        out.mkdir(parents=True, exist_ok=True)
        keys = [self._key(function, job) for job in jobs]
        known = self._fetch([self._find(key) for key in keys], out, borrow)
        missing = [i for i, action in enumerate(known) if action is None]
        found = [action for action in known if action is not None]
        scratch = out / ".scratch"
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        try:
            before = {i: (self._before(function, jobs[i]),) if resume else () for i in missing}
            tasks = [(function, self.cache, keys[i], scratch / str(i), (*jobs[i], *before[i])) for i in missing]
            made = [_accept(action, out) for action in self.executor(_perform, tasks, label, inline_bytes)]
            for i in missing if resume else ():
                self._remember(function, jobs[i], keys[i])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        for i, action in zip(missing, made, strict=True):
            known[i] = action
        _count(found, made)
        for action in made:
            for name, (md5, _) in action["files"].items():
                self.digests.learn(out / name, md5, status_of(out / name))
        self.digests.save()
        return [action["value"] for action in known if action is not None]

    def missing(self, function: Callable[..., Any], jobs: Sequence[Job]) -> list[int]:
        """Which of the jobs `map` would have to run."""
        return [i for i, job in enumerate(jobs) if self._find(self._key(function, job)) is None]

    def path_of(self, md5: str, size: int) -> Path | None:
        """An object in the cache, to be read only."""
        return self.cache.path(md5) if self.cache and self.cache.holds(md5, size) else None

    def object_of(self, path: Path) -> tuple[str, int]:
        """(MD5, bytes) of a file that a map wrote."""
        return self.digests.of(path), path.stat().st_size

    def note(self, name: str, *parts: str | int) -> Path | None:
        """Where a stage may keep what helps it and decides nothing, for this code and `parts`; None without a cache."""
        return self.cache.folder / "privllm" / name / digest(json.dumps([FORMAT, self.code, *parts]).encode()) if self.cache else None

    def _key(self, function: Callable[..., Any], job: Job) -> str:
        if self.cache is None:
            return ""
        parts = [FORMAT, self.code, f"{function.__module__}.{function.__qualname__}", self._plain(job)]
        return digest(json.dumps(parts, sort_keys=True, allow_nan=False).encode())

    def _plain(self, value: Any) -> Any:
        """`value` as JSON that tells apart what differs: files by name and content, configurations by class and fields."""
        if isinstance(value, Unkeyed):
            return None
        if isinstance(value, Path):
            return {"file": value.name, "md5": self.digests.of(value)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {"class": type(value).__name__, "fields": self._plain(dataclasses.asdict(value))}
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value), "a key that JSON would change"
            return {"map": {key: self._plain(value[key]) for key in value}}
        if isinstance(value, list | tuple):
            return [self._plain(part) for part in value]
        assert value is None or isinstance(value, str | int | float), f"{type(value)} cannot be part of a key"
        return value

    def _last(self, function: Callable[..., Any], job: Job) -> Path | None:
        """Where it is written down which version of a job was made last."""
        names = [part.name if isinstance(part, Path) else self._plain(part) for part in job]
        return self.note("last", f"{function.__module__}.{function.__qualname__}", json.dumps(names, sort_keys=True))

    def _remember(self, function: Callable[..., Any], job: Job, key: str) -> None:
        if path := self._last(function, job):
            inputs = {part.name: self.digests.of(part) for part in job if isinstance(part, Path)}
            _write(path, {"key": key, "inputs": inputs})

    def _before(self, function: Callable[..., Any], job: Job) -> Before | None:
        path = self._last(function, job)
        try:
            last = json.loads(path.read_text("utf-8")) if path else None
        except (OSError, ValueError):
            return None
        action = self._find(last["key"]) if last else None
        if not self.cache or not last or not action:
            return None
        inputs = {name: self.cache.path(md5) for name, md5 in last["inputs"].items()}
        if not all(path.is_file() for path in inputs.values()):
            return None
        return Before(inputs, {name: self.cache.path(md5) for name, (md5, _) in action["files"].items()}, action["value"])

    def _find(self, key: str) -> dict[str, Any] | None:
        """The action of that key, if it is known and all its files are still in the cache."""
        if self.cache is None:
            return None
        path = action_path(self.cache, key)
        try:
            action = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not all(self.cache.holds(md5, size) for md5, size in action["files"].values()):
            return None
        with suppress(OSError):
            os.utime(path)  # `privllm gc` keeps what was used last
        return action

    def _fetch(self, actions: list[dict[str, Any] | None], out: Path, borrow: bool = False) -> list[dict[str, Any] | None]:
        """Put the actions' files into `out`; None for those whose objects went meanwhile (`privllm gc` may run beside)."""
        files = {name: md5 for action in actions if action for name, (md5, _) in action["files"].items()}
        for folder in {(out / name).parent for name in files}:
            folder.mkdir(parents=True, exist_ok=True)

        def fetch(item: tuple[str, str]) -> bool:
            assert self.cache
            name, md5 = item
            try:
                (self.cache.lend if borrow else self.cache.get)(md5, out / name)
            except FileNotFoundError:
                return False
            self.digests.learn(out / name, md5, status_of(out / name))
            return True

        with ThreadPoolExecutor(COPIERS) as threads:
            there = dict(zip(files, threads.map(fetch, files.items()), strict=True))
        return [action if action and all(there[name] for name in action["files"]) else None for action in actions]


NO_STORE = Store()


def action_path(cache: Cache, key: str) -> Path:
    """Where the action `key` is written down: a small JSON, so that no lock is needed and a network drive will do."""
    return cache.folder / "privllm" / "actions" / key[:2] / f"{key[2:]}.json"


def _perform(function: Callable[..., Any], cache: Cache | None, key: str, scratch: Path, job: Job) -> dict[str, Any]:
    """Run one job; its action, and where its files lie.

    A cluster may run a job again while another machine still works on it, unheard: so each attempt has a folder of its own,
    and nobody but the process that asked moves files out of one.
    """
    attempt = scratch.with_name(f"{scratch.name}-{unique()}")
    attempt.mkdir(parents=True)
    value = json.loads(json.dumps(function(attempt, *job), allow_nan=False))  # as it will be when it is found again
    files: dict[str, tuple[str, int]] = {}
    for path in sorted(path for path in attempt.rglob("*") if path.is_file()):
        files[path.relative_to(attempt).as_posix()] = (cache.put(path) if cache else md5_of(path), path.stat().st_size)
    if cache:
        _write(action_path(cache, key), {"value": value, "files": files})
    return {"value": value, "files": files, "attempt": attempt}


def _accept(action: dict[str, Any], out: Path) -> dict[str, Any]:
    """Move an action's files to `out`, and remove their folder."""
    attempt: Path = action["attempt"]
    for name in action["files"]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (attempt / name).replace(out / name)
    for folder in sorted((path for path in attempt.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    attempt.rmdir()
    return action


def _write(path: Path, value: dict[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, allow_nan=False), "utf-8")


def _count(found: list[dict[str, Any]], made: list[dict[str, Any]]) -> None:
    for actions, names in ((found, ("shards", "bytes")), (made, ("shards", "bytes", "made", "bytes_made"))):
        size = sum(file[1] for action in actions for file in action["files"].values())
        for name in names:
            work[name] += size if name.startswith("bytes") else len(actions)


def open_store(stage: str) -> Store:
    """The store of a stage that runs in the repository's root, keyed by its fingerprint."""
    try:
        code = digest((FOLDER / f"{stage}.json").read_bytes())
    except FileNotFoundError:
        raise UserError(f"{FOLDER / stage}.json is missing: run `dvc repro {stage}`, which makes it first.") from None
    return _make(find_cache(Path()), code, Digests(DIGESTS_FILE), executor_of(stage))


StoreMaker = Callable[[Cache | None, str, Digests, Executor], Store]
_make: StoreMaker = Store


@contextmanager
def opening(make: StoreMaker) -> Iterator[None]:
    """Within it, `open_store` returns what `make` returns: how `privllm audit` watches a stage without the stage's knowledge."""
    global _make
    before, _make = _make, make
    try:
        yield
    finally:
        _make = before
