"""Actions: the records of finished jobs in the cache, by the key of what their results depend on.

An action says what the function of a job returned, and which objects of the cache are its files.
`engine.store` decides which jobs run; they run through `perform`, perhaps in another process or on
another machine.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from privllm.engine.cache import Cache
from privllm.engine.digests import md5_of, replacing, unique

Job = tuple[Any, ...]  # arguments of a function
# "code": digest of the stage's fingerprint; "inputs": MD5s of the files among the job's arguments;
# "value": what the function returned; "files": {name: (MD5, bytes)}
Action = dict[str, Any]


class Identity(NamedTuple):
    """What a job is recorded as: its key, and of what goes into the key the parts that can be looked up."""

    key: str  # "" without a cache
    code: str
    inputs: list[str]


def action_path(cache: Cache, key: str) -> Path:
    """Return where the action `key` is recorded.

    A small JSON needs no lock and works on a network drive.
    """
    return cache.folder / "privllm" / "actions" / key[:2] / f"{key[2:]}.json"


def perform(function: Callable[..., Any], cache: Cache | None, identity: Identity, scratch: Path, job: Job) -> Action:
    """Run one job; return its action, and as "attempt" the folder of its files.

    A cluster may run a job again while another machine that no longer answers still works on it. So
    each attempt has a folder of its own, and only the process that asked for the job moves files
    out of one.
    """
    attempt = scratch.with_name(f"{scratch.name}-{unique()}")
    attempt.mkdir(parents=True)
    returned = function(attempt, *job)
    value = json.loads(json.dumps(returned, allow_nan=False))  # equal to what is read from the record later
    files: dict[str, tuple[str, int]] = {}
    for path in sorted(attempt.rglob("*")):
        if path.is_file():
            md5 = cache.put(path) if cache else md5_of(path)
            files[path.relative_to(attempt).as_posix()] = md5, path.stat().st_size
    action = {"code": identity.code, "inputs": identity.inputs, "value": value, "files": files}
    if cache:
        write_json(action_path(cache, identity.key), action)
    return action | {"attempt": attempt}


def move_files(action: Action, out: Path) -> Action:
    """Move an action's files to `out` and remove their folder; return the action."""
    attempt: Path = action["attempt"]
    for name in action["files"]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (attempt / name).replace(out / name)
    folders = [path for path in attempt.rglob("*") if path.is_dir()]
    for folder in sorted(folders, reverse=True):
        folder.rmdir()
    attempt.rmdir()
    return action


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a note in the cache holds, None where it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a note into the cache; a reader never sees half of it."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, allow_nan=False), "utf-8")


def bytes_of_files(action: Action) -> int:
    """Return the size of all files of an action."""
    return sum(size for _, size in action["files"].values())
