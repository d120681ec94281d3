"""DVC's view of the build: stages in order, what the last build recorded of each, and the cache.

Read-only, and takes none of DVC's locks, so it can be used while a build runs. DVC itself decides which
stages there are, in which order, and what the content of a path is.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.plain_yaml import parse_yaml
from privllm.engine.cache import Cache, find_cache

# What is wrong with an output, by DVC's word for it.
WORDS = {
    "deleted": "is missing",
    "modified": "was changed by hand",
    "new": "was never recorded",
    "not in cache": "is not in DVC's cache",
}


@dataclass(frozen=True)
class StagePath:
    """A file or folder that a stage needs or makes."""

    path: str  # from the root, "/"-separated
    name: str  # as dvc.yaml writes it
    recorded: str  # its MD5 when the stage ran last (of a folder's listing, ".dir" at the end); "" where unknown
    entry: Any = field(repr=False)  # DVC's own object


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, and what dvc.lock records of its last run."""

    name: str
    command: str
    deps: list[StagePath]
    outs: list[StagePath]
    params: dict[str, dict[str, Any]]  # {file: {section: values}} as they are now
    recorded_params: dict[str, dict[str, Any]]  # as they were, without sections that dvc.yaml no longer names
    locked: dict[str, Any]  # {} where it never ran
    frozen: bool
    always: bool


class Build:
    """The DVC repository in the working directory. Made by `open_build`."""

    def __init__(self, repo: Any, root: Path) -> None:
        self.repo = repo
        self.cache = find_cache(root) or Cache(root / ".dvc/cache")
        self._md5: dict[str, str] = {}
        self._listings: dict[str, dict[str, str] | None] = {}
        self._locks: dict[Path, dict[str, Any]] = {}

    def stages(self, target: str | None) -> list[Stage]:
        """Return the stages that `dvc repro [target]` would consider, in its order.

        Raises UserError for a target that does not exist.
        """
        from dvc.exceptions import DvcException
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        try:
            targets = collect_stages(self.repo, [target or "dvc.yaml"])
        except DvcException:
            if target is None:
                raise
            raise UserError(self._unknown_stage(target)) from None
        planned = plan_repro(get_active_graph(self.repo.index.graph), targets)
        # A stage without a command is a folder that `dvc add` tracks.
        return [self._stage(stage) for stage in planned if stage.cmd]

    def _unknown_stage(self, target: str) -> str:
        with_command = [stage for stage in self.repo.index.stages if stage.cmd]
        names = list(dict.fromkeys(stage.addressing.partition("@")[0] for stage in with_command))
        near = difflib.get_close_matches(target, names, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        return f"there is no stage `{target}`; {hint}dvc.yaml has {', '.join(names)}."

    def _stage(self, stage: Any) -> Stage:
        locked = self._lock(Path(stage.path).with_suffix(".lock")).get(stage.name, {})
        params = [dep for dep in stage.deps if hasattr(dep, "read_params")]
        recorded_params = {}
        for dep in params:
            recorded_sections = locked.get("params", {}).get(dep.def_path, {})
            recorded_params[dep.def_path] = _declared_sections(recorded_sections, dep.params)
        recorded_deps = {entry["path"]: entry.get("md5", "") for entry in locked.get("deps", [])}
        recorded_outs = {entry["path"]: entry.get("md5", "") for entry in locked.get("outs", [])}
        return Stage(
            name=stage.addressing,
            command=stage.cmd,
            deps=[self._stage_path(dep, recorded_deps) for dep in stage.deps if dep not in params],
            outs=[self._stage_path(out, recorded_outs) for out in stage.outs],
            params={dep.def_path: dep.read_params() for dep in params},
            recorded_params=recorded_params,
            locked=locked,
            frozen=stage.frozen,
            always=stage.always_changed or stage.is_callback,
        )

    def _stage_path(self, entry: Any, recorded: Mapping[str, str]) -> StagePath:
        path = Path(os.path.relpath(entry.fs_path, self.repo.root_dir)).as_posix()
        return StagePath(path, entry.def_path, recorded.get(entry.def_path, ""), entry)

    def _lock(self, path: Path) -> dict[str, Any]:
        if path not in self._locks:
            self._locks[path] = _read_yaml(path).get("stages", {}) if path.is_file() else {}
        return self._locks[path]

    def md5(self, stage_path: StagePath) -> str:
        """Return the MD5 of what is at a path now, "" for nothing. DVC caches it for unchanged files."""
        if stage_path.path not in self._md5:
            entry = stage_path.entry
            self._md5[stage_path.path] = entry.get_hash().value if entry.exists else ""
        return self._md5[stage_path.path]

    def changed_outputs(self, stage: Stage) -> dict[str, str]:
        """Return {path: what is wrong with it} of outputs that are not what the stage made."""
        problems = {}
        for out in stage.outs:
            word = next(iter(out.entry.status().values()), "")
            if word:
                problems[out.path] = WORDS.get(word, word)
        return problems

    def listing(self, md5: str) -> dict[str, str] | None:
        """Return {path below a folder: MD5} of a folder in the cache; None where it is not there."""
        if md5 not in self._listings:
            self._listings[md5] = self.cache.listing(md5)
        return self._listings[md5]

    def content(self, md5: str) -> bytes | None:
        """Read a file in the cache; None where it is not there."""
        path = self.cache.path(md5)
        return path.read_bytes() if md5 and path.is_file() else None

    def cached_run(self, stage: Stage, deps: Mapping[str, str]) -> dict[str, str] | None:
        """Return {out's path: MD5} where DVC would restore the stage from its run cache, else None.

        deps: the MD5 of each dependency by path, "" where it is unknown.
        """
        if not _may_be_cached(stage, deps):
            return None
        entry = self._run_in_lock(stage, deps) or self._newest_run(self._run_key(stage, deps))
        paths = {out.name: out.path for out in stage.outs}
        md5s = {}
        for item in entry.get("outs", []):
            if item["path"] in paths:
                md5s[paths[item["path"]]] = item.get("md5", "")
        is_complete = len(md5s) == len(paths) and all(self._in_cache(md5) for md5 in md5s.values())
        return md5s if is_complete else None

    def _run_in_lock(self, stage: Stage, deps: Mapping[str, str]) -> dict[str, Any]:
        """Return the run in dvc.lock, if its command, parameters and dependencies are the same; else {}."""
        unchanged = (
            stage.locked.get("cmd") == stage.command
            and stage.recorded_params == stage.params
            and all(dep.recorded == deps[dep.path] for dep in stage.deps)
        )
        return stage.locked if unchanged else {}

    def _run_key(self, stage: Stage, deps: Mapping[str, str]) -> str:
        """Return DVC's key of a run: the hash of its entry in dvc.lock, without the outputs' hashes."""
        from dvc.utils import dict_sha256

        key: dict[str, Any] = {"cmd": stage.command, "deps": []}
        for dep in sorted(stage.deps, key=lambda dep: dep.name):
            key["deps"].append({"path": dep.name, "hash": "md5", "md5": deps[dep.path]})
        if stage.params:
            key["params"] = stage.params
        key["outs"] = sorted(out.name for out in stage.outs)
        return dict_sha256(key)

    def _newest_run(self, key: str) -> dict[str, Any]:
        folder = self._runs / key[:2] / key
        if not folder.is_dir():
            return {}
        runs = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        return _read_yaml(runs[-1]) if runs else {}

    @cached_property
    def _runs(self) -> Path:
        return Path(self.repo.stage_cache.cache_dir)

    def _in_cache(self, md5: str) -> bool:
        """Return whether the cache holds a file, or a folder with all of its files."""
        if not md5.endswith(".dir"):
            return bool(md5) and self.cache.path(md5).is_file()
        listing = self.listing(md5)
        return listing is not None and all(self.cache.path(file).is_file() for file in listing.values())


def _may_be_cached(stage: Stage, deps: Mapping[str, str]) -> bool:
    """Return whether DVC looks a stage up in its run cache."""
    if stage.always or not stage.deps or not stage.outs:
        return False
    return all(deps.values()) and not any(out.entry.persist for out in stage.outs)


def _declared_sections(recorded: dict[str, Any], sections: Any) -> dict[str, Any]:
    """Return the recorded parameters of the sections that dvc.yaml names, or of all if it names none."""
    if not sections:
        return dict(recorded)
    return {section: values for section, values in recorded.items() if section in sections}


def _read_yaml(path: Path) -> dict[str, Any]:
    return parse_yaml(path.read_text("utf-8")) or {}


@contextmanager
def open_build() -> Iterator[Build]:
    """Open the DVC repository whose root is the working directory.

    Raises UserError for one that DVC cannot read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not Path(".dvc").is_dir():
        raise UserError("this folder is not a DVC repository: run it from the root of the repository.")
    try:
        with Repo(".") as repo:
            yield Build(repo, Path())
    except DvcException as error:
        raise UserError(f"DVC cannot read this build: {error}.") from error
