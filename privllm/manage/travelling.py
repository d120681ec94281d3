"""Travelling actions: which records of the store belong to the build in the workspace, read strictly.

An action belongs to the build if code of the present fingerprints made it, and if its inputs, or its
outputs, are among the objects that the workspace's dvc.lock and .dvc files name or that another such
action leaves. What was made of documents that are no longer here belongs to nothing, so it does not travel.

The stages in `STAY` do not travel either: they compute with a model's weights, so another processor
may give other last digits, and a new model needs all of them anew anyway.

What comes from a remote may have been written by anybody. `parse_action` takes nothing that could
lead out of a folder, and says what is wrong with the rest.
"""

import json
import re
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.progress import bar
from privllm.engine.actions import action_path
from privllm.engine.cache import Cache
from privllm.engine.fingerprint import FOLDER
from privllm.engine.pipeline import declared_stages, words_of
from privllm.engine.store import code_of
from privllm.manage.audit import uses_store

STAY = frozenset({"evaluate", "gate"})
MAX_BYTES = 64 << 20  # of one action: what a function returned for one shard
MAX_FILES = 10_000  # of one action, and of its inputs
MAX_OBJECT_BYTES = 1 << 40
DIGEST = re.compile(r"[0-9a-f]{32}")  # of a key, a code, an object
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")  # of the path of a file below a stage's output
FIELDS = {"code", "inputs", "value", "files"}


class ActionRecord(NamedTuple):
    """What is needed of an action to decide whether it travels. Its value is left on the disk."""

    key: str
    code: str
    inputs: frozenset[str]  # MD5s
    objects: dict[str, int]  # {MD5: bytes} of its files
    path: Path  # where its bytes lie


def travelling_stages() -> dict[str, str]:
    """Return {digest of its fingerprint: stage} of the stages whose actions travel.

    A stage without a fingerprint, as before the first build, is left out.
    """
    stages = {}
    for name, declared in declared_stages().items():
        stage = name.partition("@")[0]
        is_ours = words_of(declared, stage) is not None
        if is_ours and stage not in STAY and (FOLDER / f"{stage}.json").is_file() and uses_store(stage):
            stages[code_of(stage)] = stage
    return stages


def read_local(cache: Cache, codes: Set[str]) -> dict[str, ActionRecord]:
    """Return {key: record} of the store's actions of these codes that are whole."""
    paths = sorted((cache.folder / "privllm" / "actions").glob("??/*.json"))
    records = {}
    with bar(f"actions here ({len(paths):,})", max(len(paths), 1)) as advance:
        for path in paths:
            advance()
            record = _local_record(path)
            if record and record.code in codes:
                records[record.key] = record
    return records


def _local_record(path: Path) -> ActionRecord | None:
    """Return the record of one of the store's actions, None for one of an older format or dropped by `privllm gc`."""
    try:
        return parse_action(path.read_bytes(), path.parent.name + path.stem, path)
    except (OSError, ValueError):
        return None


def parse_action(content: bytes, key: str, path: Path) -> ActionRecord:
    """Return the record of an action whose bytes lie at `path`. Raises ValueError that says what is wrong."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES >> 20} MB")
    try:
        action = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    _require(isinstance(action, dict) and action.keys() == FIELDS, f"its fields are not {', '.join(sorted(FIELDS))}")
    code, inputs, files = action["code"], action["inputs"], action["files"]
    _require(_is_digest(key) and _is_digest(code), "its key or its code is no digest")
    _require(isinstance(inputs, list) and len(inputs) <= MAX_FILES, "its inputs are no list, or too many")
    _require(all(_is_digest(md5) for md5 in inputs), "an input is no MD5")
    _require(isinstance(files, dict) and len(files) <= MAX_FILES, "its files are no map, or too many")
    objects: dict[str, int] = {}
    for name, entry in files.items():
        _require(_is_safe(name), f"the file {name[:100]!r} could lie outside the output")
        _require(isinstance(entry, list) and len(entry) == 2, f"{name} has no MD5 and size")
        md5, size = entry
        _require(_is_digest(md5), f"the MD5 of {name} is none")
        _require(type(size) is int and 0 <= size <= MAX_OBJECT_BYTES, f"the size of {name} is none")
        _require(objects.setdefault(md5, size) == size, f"{name} has another size than the same object elsewhere")
    return ActionRecord(key, code, frozenset(inputs), objects, path)


def belonging(records: Mapping[str, ActionRecord], referenced: Iterable[str]) -> set[str]:
    """Return the keys of the records that belong to a build whose files have the MD5s `referenced`."""
    reachable = set(referenced)
    waiting = dict(records)
    keys: set[str] = set()
    while True:
        found = {key for key, record in waiting.items() if _belongs(record, reachable)}
        if not found:
            return keys
        keys |= found
        for key in found:
            reachable |= waiting.pop(key).objects.keys()


def _belongs(record: ActionRecord, reachable: Set[str]) -> bool:
    """Return whether all that a job read, or all that it wrote, is reachable."""
    is_of_inputs = bool(record.inputs) and record.inputs <= reachable
    return is_of_inputs or (bool(record.objects) and record.objects.keys() <= reachable)


def needed_objects(records: Iterable[ActionRecord]) -> dict[str, int]:
    """Return {MD5: bytes} of the files of some actions."""
    objects: dict[str, int] = {}
    for record in records:
        objects |= record.objects
    return objects


def is_known(cache: Cache, record: ActionRecord) -> bool:
    """Return whether the store has this action, and the cache all of its files."""
    is_recorded = action_path(cache, record.key).is_file()
    return is_recorded and all(cache.holds(md5, size) for md5, size in record.objects.items())


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and DIGEST.fullmatch(text) is not None


def _is_safe(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= 10 and all(PART.fullmatch(part) for part in parts)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise ValueError(fault)
