"""A content-addressed cache of stage results, keyed by inputs, parameters and code.

`store.map(function, jobs, out, "clean")` is `[function(scratch, *job) for job in jobs]`, where
`function` is pure, at module level, writes files below `scratch` (they are moved to `out`) and
returns what JSON can hold. Before a job runs, its key is looked up: the function's name, the
stage's fingerprint (what the code means, library versions), every argument, and the name and
content of every file among the arguments. If the key is recorded, the files come from DVC's cache,
where the files of a finished job are put at once. So a killed stage goes on from its finished
shards, a removed document leaves every output (outputs are made of the present jobs alone), and all
experiments that share the cache share the work. The store does not know which documents or stages
there are.
"""

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.seed import digest
from privllm.core.work_paths import DIGESTS_FILE
from privllm.engine.actions import (
    Action,
    Identity,
    Job,
    action_path,
    bytes_of_files,
    move_files,
    perform,
    read_json,
    write_json,
)
from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import Digests, status_of
from privllm.engine.executor import Executor, map_shards
from privllm.engine.executor_ray import executor_of
from privllm.engine.fingerprint import FOLDER
from privllm.engine.libraries_apart import code_digest

COPIERS = 4  # threads that fetch from the cache; copying does not hold Python's lock
FORMAT = 2  # of an action's key and value
SCRATCH = ".scratch"  # folder in `out` where jobs write

work_counts: Counter[str] = Counter()  # of this process's maps: shards, made, bytes, bytes_made; for the log


class Unkeyed(NamedTuple):
    """An argument that says where to find things and cannot change the result.

    It is no part of the key; executors see its files.
    """

    value: Any


class Before(NamedTuple):
    """The last result of a job: of the same function and parameters, for files of the same names.

    Its paths lead into the cache and are for reading only. What it holds about an unchanged
    document may be reused; whether a document is unchanged, the function must find out from the
    documents themselves.
    """

    inputs: dict[str, Path]  # by name
    files: dict[str, Path]  # by name below `out`
    value: Any


class Store:
    """The results of one stage. Without a cache (`Store()`) it maps and records nothing."""

    def __init__(
        self,
        cache: Cache | None = None,
        code: str = "",
        digests: Digests | None = None,
        executor: Executor = map_shards,
    ) -> None:
        """Open the results of the code with the digest `code`.

        `executor` decides where jobs run.
        """
        self.cache = cache
        self.code = code
        self.digests = digests or Digests()
        self.executor = executor

    def map(
        self,
        function: Callable[..., Any],
        jobs: Sequence[Job],
        out: Path,
        label: str,
        resume: bool = False,
        inline_bytes: int | None = None,
        borrow: bool = False,
        apart: bool = False,
    ) -> list[Any]:
        """Return the jobs' results in their order, with their files in `out`.

        Two jobs must not write the same name.

        With `resume` the last argument of the function is the `Before` of each job, or None. With
        `borrow` recorded files need not be copied: `out` is for reading, and is removed before the
        stage ends. `inline_bytes` and `apart` are the executor's.
        """
        out.mkdir(parents=True, exist_ok=True)
        keys = [self.key_of(function, job) for job in jobs]
        recorded_actions = [self._recorded_action(key) for key in keys]
        actions = self.restore(recorded_actions, out, borrow)
        restored_actions = [action for action in actions if action is not None]
        to_run = [index for index, action in enumerate(actions) if action is None]

        scratch = out / SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)  # left by a run that was killed
        try:
            tasks = []
            for index in to_run:
                job = jobs[index]
                identity = Identity(keys[index], self.code, self._inputs_of(job))
                if resume:
                    job = (*job, self._previous_result(function, job))
                tasks.append((function, self.cache, identity, scratch / str(index), job))
            finished_actions = self.executor(perform, tasks, label, inline_bytes, apart)
            executed_actions = [move_files(action, out) for action in finished_actions]
            if resume:
                for index in to_run:
                    self._record_as_last(function, jobs[index], keys[index])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

        for index, action in zip(to_run, executed_actions, strict=True):
            actions[index] = action
        _count_work(restored_actions, executed_actions)
        self._learn_digests(executed_actions, out)
        return [action["value"] for action in actions if action is not None]

    def missing(self, function: Callable[..., Any], jobs: Sequence[Job]) -> list[int]:
        """Return the indices of the jobs that `map` would have to run."""
        missing_indices = []
        for index, job in enumerate(jobs):
            key = self.key_of(function, job)
            if self._recorded_action(key) is None:
                missing_indices.append(index)
        return missing_indices

    def path_of(self, md5: str, size: int) -> Path | None:
        """Return the path of an object in the cache, to be read only; None where it is missing."""
        return self.cache.path(md5) if self.cache and self.cache.holds(md5, size) else None

    def object_of(self, path: Path) -> tuple[str, int]:
        """Return (MD5, bytes) of a file that a map wrote."""
        return self.digests.of(path), path.stat().st_size

    def note(self, name: str, *parts: str | int) -> Path | None:
        """Return where a stage may keep what speeds it up, for this code and `parts`.

        None without a cache.
        """
        if self.cache is None:
            return None
        identity = json.dumps([FORMAT, self.code, *parts])
        return self.cache.folder / "privllm" / name / digest(identity.encode())

    def key_of(self, function: Callable[..., Any], job: Job) -> str:
        """Return the digest of all that the result of a job depends on, "" without a cache."""
        if self.cache is None:
            return ""
        identity = [FORMAT, self.code, _name_of(function), self._jsonable(job)]
        return digest(json.dumps(identity, sort_keys=True, allow_nan=False).encode())

    def _inputs_of(self, job: Job) -> list[str]:
        """Return the MD5s of the files among a job's arguments, sorted; none without a cache."""
        if self.cache is None:
            return []
        return sorted({self.digests.of(path) for path in _files_in(job)})

    def _jsonable(self, value: Any) -> Any:
        """Return `value` as JSON in which different values differ.

        Files stand there by name and content, configurations by class and fields.
        """
        if isinstance(value, Unkeyed):
            return None
        if isinstance(value, Path):
            return {"file": value.name, "md5": self.digests.of(value)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {"class": type(value).__name__, "fields": self._jsonable(dataclasses.asdict(value))}
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value), "a key that JSON would change"
            return {"map": {key: self._jsonable(item) for key, item in value.items()}}
        if isinstance(value, list | tuple):
            return [self._jsonable(item) for item in value]
        assert value is None or isinstance(value, str | int | float), f"{type(value)} cannot be part of a key"
        return value

    def _last_note(self, function: Callable[..., Any], job: Job) -> Path | None:
        """Return the note that names the last version of a job with files of these names."""
        names = []
        for argument in job:
            names.append(argument.name if isinstance(argument, Path) else self._jsonable(argument))
        return self.note("last", _name_of(function), json.dumps(names, sort_keys=True))

    def _record_as_last(self, function: Callable[..., Any], job: Job, key: str) -> None:
        """Write the note that `_previous_result` reads the next time."""
        path = self._last_note(function, job)
        if path is None:
            return
        inputs = {}
        for argument in job:
            if isinstance(argument, Path):
                inputs[argument.name] = self.digests.of(argument)
        write_json(path, {"key": key, "inputs": inputs})

    def _previous_result(self, function: Callable[..., Any], job: Job) -> Before | None:
        """Return the last result of a job, None where it or one of its files is missing."""
        path = self._last_note(function, job)
        if path is None or self.cache is None:
            return None
        last_run = read_json(path)
        if not last_run:
            return None
        action = self._recorded_action(last_run["key"])
        if not action:
            return None
        inputs = {name: self.cache.path(md5) for name, md5 in last_run["inputs"].items()}
        if not all(input_path.is_file() for input_path in inputs.values()):
            return None
        files = {name: self.cache.path(md5) for name, (md5, _) in action["files"].items()}
        return Before(inputs, files, action["value"])

    def _recorded_action(self, key: str) -> Action | None:
        """Return the action with that key.

        None where it is not recorded or one of its files is not in the cache.
        """
        if self.cache is None:
            return None
        path = action_path(self.cache, key)
        action = read_json(path)
        if action is None:
            return None
        if not all(self.cache.holds(md5, size) for md5, size in action["files"].values()):
            return None
        with suppress(OSError):
            os.utime(path)  # `privllm gc` keeps what was used last
        return action

    def restore(
        self,
        actions: Sequence[Action | None],
        out: Path,
        borrow: bool = False,
    ) -> list[Action | None]:
        """Put the actions' files into `out`, and return the actions.

        None stands for those of which an object was removed meanwhile: `privllm gc` may run beside
        this.
        """
        objects: dict[str, str] = {}  # {name below `out`: MD5}
        for action in actions:
            if action:
                objects |= {name: md5 for name, (md5, _) in action["files"].items()}
        for folder in {(out / name).parent for name in objects}:
            folder.mkdir(parents=True, exist_ok=True)

        def fetch(name: str) -> bool:
            assert self.cache
            link = self.cache.lend if borrow else self.cache.get
            try:
                link(objects[name], out / name)
            except FileNotFoundError:
                return False
            self.digests.learn(out / name, objects[name], status_of(out / name))
            return True

        with ThreadPoolExecutor(COPIERS) as threads:
            is_fetched = dict(zip(objects, threads.map(fetch, objects), strict=True))
        restored: list[Action | None] = []
        for action in actions:
            is_whole = action is not None and all(is_fetched[name] for name in action["files"])
            restored.append(action if is_whole else None)
        return restored

    def _learn_digests(self, actions: list[Action], out: Path) -> None:
        """Save the MD5s of the files that have just been made."""
        for action in actions:
            for name, (md5, _) in action["files"].items():
                self.digests.learn(out / name, md5, status_of(out / name))
        self.digests.save()


NO_STORE = Store()


def open_store(stage: str) -> Store:
    """Return the store of a stage that runs in the repository's root, keyed by its fingerprint."""
    return Store(find_cache(Path()), code_of(stage), Digests(DIGESTS_FILE), executor_of(stage))


def code_of(stage: str) -> str:
    """Return the digest of a stage's fingerprint (`code_digest`). Raises UserError where there is none."""
    try:
        return code_digest(stage, (FOLDER / f"{stage}.json").read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{FOLDER / stage}.json is missing: run `dvc repro {stage}`, which makes it first.",
        ) from None


def _count_work(restored_actions: list[Action], executed_actions: list[Action]) -> None:
    """Add a map to `work_counts`."""
    restored_bytes = sum(map(bytes_of_files, restored_actions))
    executed_bytes = sum(map(bytes_of_files, executed_actions))
    work_counts["shards"] += len(restored_actions) + len(executed_actions)
    work_counts["bytes"] += restored_bytes + executed_bytes
    work_counts["made"] += len(executed_actions)
    work_counts["bytes_made"] += executed_bytes


def _files_in(value: Any) -> Iterator[Path]:
    """Yield the files that count in the key of a job with the argument `value`."""
    if isinstance(value, Unkeyed):
        return
    if isinstance(value, Path):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _files_in([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, dict):
        yield from _files_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _files_in(item)


def _name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
