"""What DVC knows of the build: its stages in order, what the last build recorded of each, and the contents of its cache.

Reads only, and takes none of DVC's locks, so it can be asked while a build runs. DVC itself decides which stages there are, in
which order, and what the content of a path is.
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

WORDS = {"deleted": "is missing", "modified": "was changed by hand", "new": "was never recorded", "not in cache": "is not in DVC's cache"}


@dataclass(frozen=True)
class Place:
    """A file or folder that a stage needs or makes."""

    path: str  # from the root, "/"-separated
    name: str  # as dvc.yaml writes it
    recorded: str  # its MD5 when the stage ran last (of a folder's listing, ".dir" at the end); "" where none is known
    entry: Any = field(repr=False)  # DVC's own object


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml beside what dvc.lock says of its last run."""

    name: str
    command: str
    deps: list[Place]
    outs: list[Place]
    params: dict[str, dict[str, Any]]  # {file: {section: values}} as they are now
    recorded_params: dict[str, dict[str, Any]]  # the same as they were; sections that dvc.yaml no longer names are left out, as by DVC
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
        """The stages that `dvc repro [target]` would look at, in its order. Raises UserError for a target that is none."""
        from dvc.exceptions import DvcException
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        try:
            wanted = collect_stages(self.repo, [target or "dvc.yaml"])
        except DvcException:
            names = dict.fromkeys(stage.addressing.partition("@")[0] for stage in self.repo.index.stages if stage.cmd)
            if target is None:
                raise
            near = difflib.get_close_matches(target, names, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise UserError(f"there is no stage `{target}`; {hint}dvc.yaml has {', '.join(names)}.") from None
        found = plan_repro(get_active_graph(self.repo.index.graph), wanted)
        return [self._stage(stage) for stage in found if stage.cmd]  # a stage without a command is a folder that `dvc add` watches

    def _stage(self, stage: Any) -> Stage:
        locked = self._lock(Path(stage.path).with_suffix(".lock")).get(stage.name, {})
        params = [dep for dep in stage.deps if hasattr(dep, "read_params")]
        recorded = locked.get("params", {})
        sides = {side: {item["path"]: item.get("md5", "") for item in locked.get(side, [])} for side in ("deps", "outs")}
        return Stage(
            stage.addressing,
            stage.cmd,
            [self._place(dep, sides["deps"]) for dep in stage.deps if dep not in params],
            [self._place(out, sides["outs"]) for out in stage.outs],
            {dep.def_path: dep.read_params() for dep in params},
            {
                dep.def_path: {k: v for k, v in recorded.get(dep.def_path, {}).items() if k in dep.params or not dep.params}
                for dep in params
            },
            locked,
            stage.frozen,
            stage.always_changed or stage.is_callback,
        )

    def _place(self, entry: Any, recorded: Mapping[str, str]) -> Place:
        path = Path(os.path.relpath(entry.fs_path, self.repo.root_dir)).as_posix()
        return Place(path, entry.def_path, recorded.get(entry.def_path, ""), entry)

    def _lock(self, path: Path) -> dict[str, Any]:
        if path not in self._locks:
            self._locks[path] = (parse_yaml(path.read_text("utf-8")) or {}).get("stages", {}) if path.is_file() else {}
        return self._locks[path]

    def md5(self, place: Place) -> str:
        """The MD5 of what lies there now, "" for nothing. DVC remembers it for files that look unchanged."""
        if place.path not in self._md5:
            self._md5[place.path] = place.entry.get_hash().value if place.entry.exists else ""
        return self._md5[place.path]

    def spoilt(self, stage: Stage) -> dict[str, str]:
        """{path: what is wrong with it} of outputs that are not what the stage made."""
        found = {out.path: next(iter(out.entry.status().values()), "") for out in stage.outs}
        return {path: WORDS.get(word, word) for path, word in found.items() if word}

    def listing(self, md5: str) -> dict[str, str] | None:
        """{path below a folder: MD5} of a folder in the cache; None where it is not there."""
        if md5 not in self._listings:
            self._listings[md5] = self.cache.listing(md5)
        return self._listings[md5]

    def content(self, md5: str) -> bytes | None:
        """A file in the cache; None where it is not there."""
        path = self.cache.path(md5)
        return path.read_bytes() if md5 and path.is_file() else None

    def known_run(self, stage: Stage, deps: Mapping[str, str]) -> dict[str, str] | None:
        """{out's path: MD5} where DVC would take the stage from its run cache, given its deps' MD5 by path; else None."""
        if stage.always or not (stage.deps and stage.outs and all(deps.values())) or any(out.entry.persist for out in stage.outs):
            return None
        outs = {out.name: out.path for out in stage.outs}
        entry = self._same_as_last(stage, deps) or self._newest(self._run_key(stage, deps))
        found = {outs[item["path"]]: item.get("md5", "") for item in entry.get("outs", []) if item["path"] in outs}
        return found if len(found) == len(outs) and all(map(self._holds, found.values())) else None

    def _same_as_last(self, stage: Stage, deps: Mapping[str, str]) -> dict[str, Any]:
        unchanged = (
            stage.locked.get("cmd") == stage.command
            and stage.recorded_params == stage.params
            and all(dep.recorded == deps[dep.path] for dep in stage.deps)
        )
        return stage.locked if unchanged else {}

    def _run_key(self, stage: Stage, deps: Mapping[str, str]) -> str:
        """DVC's name for a run: its entry in dvc.lock, without what came out."""
        from dvc.utils import dict_sha256

        key: dict[str, Any] = {"cmd": stage.command}
        key["deps"] = [{"path": dep.name, "hash": "md5", "md5": deps[dep.path]} for dep in sorted(stage.deps, key=lambda dep: dep.name)]
        key |= {"params": stage.params} if stage.params else {}
        return dict_sha256(key | {"outs": sorted(out.name for out in stage.outs)})

    def _newest(self, key: str) -> dict[str, Any]:
        folder = self._runs / key[:2] / key
        entries = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
        return (parse_yaml(entries[-1].read_text("utf-8")) or {}) if entries else {}

    @cached_property
    def _runs(self) -> Path:
        return Path(self.repo.stage_cache.cache_dir)

    def _holds(self, md5: str) -> bool:
        if not md5.endswith(".dir"):
            return bool(md5) and self.cache.path(md5).is_file()
        listing = self.listing(md5)
        return listing is not None and all(self.cache.path(part).is_file() for part in listing.values())


@contextmanager
def open_build() -> Iterator[Build]:
    """The DVC repository whose root is the working directory. Raises UserError for one that DVC cannot read."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not Path(".dvc").is_dir():
        raise UserError("this folder is no DVC repository: run it from the root of the repository.")
    try:
        with Repo(".") as repo:
            yield Build(repo, Path())
    except DvcException as error:
        raise UserError(f"DVC cannot read this build: {error}.") from error
