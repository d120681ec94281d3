"""pull: `dvc pull`, and with it the actions that the build in the workspace can use.

Whatever comes from the remote is untrusted. Actions stay in `PULL_FOLDER` until every object that they
name has arrived and has the MD5 of its name, and a sample of them was made again with the same bytes.
What is broken is left out by name; a sample that differs refuses all. Stopped at any moment and run
again, it goes on with the objects that the cache has.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path

from privllm.core.errors import UserError
from privllm.core.work_paths import PULL_FOLDER
from privllm.engine.actions import action_path
from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import md5_of, replacing
from privllm.manage.arrived import Sampled, make_sample_again
from privllm.manage.audit import table
from privllm.manage.dvc_references import references
from privllm.manage.gc import size_text
from privllm.manage.remote import Remote, RemoteAction, named_actions, open_remote
from privllm.manage.travelling import (
    MAX_BYTES,
    ActionRecord,
    belonging,
    is_known,
    needed_objects,
    parse_action,
    read_local,
    travelling_stages,
)

NAMED = 10  # broken entries that are printed


@dataclass
class Pulled:
    """Totals of what arrived, and what was refused."""

    url: str
    files: int = 0  # as `dvc fetch` counts them
    changed: int = 0  # outputs in the workspace
    there: int = 0  # actions of the present code in the remote
    known: int = 0  # of them, in the store already
    others: int = 0  # of them, of documents or parameters that this build does not have
    taken: int = 0
    objects: int = 0  # fetched for them
    bytes: int = 0
    made: dict[str, int] = field(default_factory=dict)  # {stage: actions made again}
    refused: dict[str, str] = field(default_factory=dict)  # {path in the remote: why}

    def lines(self) -> Iterator[str]:
        """Yield the totals for a terminal."""
        yield f"outputs  {self.files:,} files fetched from {self.url}, {self.changed:,} outputs changed here, as `dvc pull` does"
        yield (
            f"actions  {self.there:,} of this code in the remote: {self.known:,} known here, {self.taken:,} taken, "
            f"{self.others:,} left because no file of this build belongs to them"
        )
        yield f"objects  {self.objects:,} more fetched ({size_text(self.bytes)}), each with the MD5 of its name"
        if self.made:
            stages = ", ".join(f"{stage} {count}" for stage, count in self.made.items())
            yield f"sample   {sum(self.made.values())} actions made again ({stages}): the same bytes"
        elif self.taken:
            yield "sample   none was made again"
        for path, reason in list(self.refused.items())[:NAMED]:
            yield f"REFUSED  {path}: {reason}"
        if len(self.refused) > NAMED:
            yield f"REFUSED  {len(self.refused) - NAMED:,} more"


def pull(remote_name: str, jobs: int | None, sample: int, seed: int) -> Pulled:
    """Fetch the build of dvc.lock from a remote, and what the next edits need of the store.

    `sample` arrived actions are made again first, chosen by `seed`. Raises UserError where the remote
    fails, lacks a file of the build or has it damaged, and where the sample differs or could not be made.
    """
    shutil.rmtree(PULL_FOLDER, ignore_errors=True)  # of a pull that was killed
    try:
        with open_remote(remote_name, jobs) as remote:
            cache = find_cache(Path())
            assert cache
            result = Pulled(remote.url)
            _pull_outputs(remote, cache, result)
            arrived = _fetch_actions(remote, cache, result)
        if arrived and sample:
            result.made = _require_same_bytes(cache, arrived, sample, seed).made
        for record in arrived:
            with replacing(action_path(cache, record.key)) as partial:
                shutil.copyfile(record.path, partial)
        result.taken = len(arrived)
        return result
    finally:
        shutil.rmtree(PULL_FOLDER, ignore_errors=True)


def _pull_outputs(remote: Remote, cache: Cache, result: Pulled) -> None:
    """Do as `dvc pull` does, and check every file that arrives."""
    result.files = remote.fetch_outputs()
    missing = sorted(name for name in references([Path()], revisions=False) if not cache.path(name).is_file())
    if missing:
        names = ", ".join(missing[:3])
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise UserError(
            f"the remote `{remote.name}` ({remote.url}) lacks files of this build, or has them damaged: {names}{more}. "
            "Run `privllm push` in the clone that built it. If a file is damaged, remove it from the remote first: "
            f"{remote.odb.oid_to_path(missing[0])}."
        )
    result.changed = remote.checkout()


def _fetch_actions(remote: Remote, cache: Cache, result: Pulled) -> list[ActionRecord]:
    """Return the actions that this build can use and the store lacks, in `PULL_FOLDER`, with their objects in the cache."""
    codes = travelling_stages().keys()
    referenced = references([Path()], revisions=False)
    records = read_local(cache, codes)
    offered: dict[str, RemoteAction] = {}
    for code in sorted(codes):
        actions, refused = named_actions(remote.actions(code), code)
        offered |= {action.key: action for action in actions}
        result.refused |= refused
    result.there = len(offered)

    wanted = []
    for key, action in offered.items():
        if key not in records or not is_known(cache, records[key]):
            wanted.append(action)
        elif md5_of(records[key].path) == action.md5:
            result.known += 1
        else:
            result.refused[action.path] = "the store here has another result for the same key"
    fetched: dict[str, ActionRecord] = {}

    def fetch(action: RemoteAction) -> None:
        try:
            fetched[action.key] = _fetch_action(remote, action)
        except ValueError as error:
            result.refused[action.path] = str(error)

    remote.each("actions", fetch, wanted)
    of_build = belonging(records | fetched, referenced)
    usable = [fetched[key] for key in sorted(fetched.keys() & of_build)]
    result.others = len(fetched) - len(usable)
    return _with_objects(remote, cache, usable, offered, result)


def _fetch_action(remote: Remote, action: RemoteAction) -> ActionRecord:
    """Write an action into `PULL_FOLDER` and return its record. Raises ValueError that says what is wrong with it."""
    if action.bytes > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES >> 20} MB")
    content = remote.read(action.path, MAX_BYTES + 1)
    if md5(content, usedforsecurity=False).hexdigest() != action.md5:
        raise ValueError("it is not what its name says: cut short or changed; `privllm push` sends a short one again")
    path = PULL_FOLDER / action.code / f"{action.key}.json"
    record = parse_action(content, action.key, path)
    if record.code != action.code:
        raise ValueError("it is of other code than its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return record


def _with_objects(
    remote: Remote, cache: Cache, records: list[ActionRecord], offered: dict[str, RemoteAction], result: Pulled
) -> list[ActionRecord]:
    """Fetch the objects of some actions; return the actions that then have all of theirs."""
    objects = needed_objects(records)
    lacking = {name for name in objects if not cache.path(name).is_file()}
    if lacking:
        remote.fetch_objects(lacking)
    whole = []
    for record in records:
        absent = [name for name, size in record.objects.items() if not cache.holds(name, size)]
        if absent:
            result.refused[offered[record.key].path] = f"its object {absent[0]} is missing, damaged or of another size"
        else:
            whole.append(record)
    arrived = [name for name in sorted(lacking) if cache.path(name).is_file()]
    result.objects, result.bytes = len(arrived), sum(objects[name] for name in arrived)
    return whole


def _require_same_bytes(cache: Cache, arrived: list[ActionRecord], count: int, seed: int) -> Sampled:
    """Make a sample again. Raises UserError where it differs, or where none could be made."""
    names = travelling_stages()
    stages: dict[str, dict[str, Path]] = defaultdict(dict)
    for record in arrived:
        stages[names[record.code]][record.key] = record.path
    sampled = make_sample_again(cache, stages, count, seed)
    if sampled.faults:
        lines = " | ".join(table(sampled.faults[:NAMED])[1:])
        raise UserError(
            f"the actions from the remote are not what the code here makes (seed {seed}), so none of the {len(arrived):,} "
            f"was taken: {lines}. The outputs were pulled as by `dvc pull`; `dvc repro` makes the shards that it needs."
        )
    if sampled.failed:
        stage, reason = next(iter(sampled.failed.items()))
        raise UserError(
            f"the stage {stage} failed on the actions from the remote ({reason}; seed {seed}), so none of the "
            f"{len(arrived):,} was taken. The outputs were pulled as by `dvc pull`; `dvc repro` makes the shards that it needs."
        )
    if not sampled.count:
        nothing = "", "no action of the remote is used by the build in the workspace."
        stage, reason = next(iter(sampled.skipped.items()), nothing)
        raise UserError(
            f"no sample of the actions could be made again (seed {seed}), so none of the {len(arrived):,} was taken: "
            f"{stage}: {reason} The outputs were pulled. `privllm pull --sample 0` takes actions unseen, from a remote "
            "that you trust as you trust your own disk."
        )
    return sampled
