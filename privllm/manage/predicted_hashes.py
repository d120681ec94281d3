"""Predicted MD5s of the build's paths at the time when `dvc repro` comes to them.

A path that no stage makes, or that an up-to-date stage made, stays as it is. What the run cache restores
is in its listing. What a stage has yet to make is unknown, except the fingerprints: these are computed
from the source code here, in memory.
"""

import json
from hashlib import md5
from pathlib import Path, PurePosixPath
from typing import Any

from privllm.core.report import json_text
from privllm.engine.fingerprint import FOLDER, foretell_fingerprints
from privllm.manage.dvc_state import Build, Stage, StagePath

PRINTS = FOLDER.as_posix()


class PredictedHashes:
    """MD5s by path, filled stage by stage in the order of the build."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.maker: dict[str, str] = {}  # name of the stage that makes a path
        self.after: dict[str, str | None] = {}  # MD5 of a path that a stage makes; None: unknown
        self.changing: set[str] = set()  # paths that a stage makes, and that may change
        self.prints: dict[str, bytes] = {}  # fingerprints that are to be written, by path

    def record(self, stage: Stage, contents: dict[str, str] | None, up_to_date: bool = False) -> None:
        """Record what a stage's outputs will be, MD5 by path; None where it must run first.

        up_to_date: the outputs already have these contents.
        """
        for out in stage.outs:
            if not up_to_date:
                self.changing.add(out.path)
            self.maker[out.path] = stage.name
            self.after[out.path] = contents[out.path] if contents else None
            if out.path == PRINTS and not contents:
                self._predict_fingerprints()

    def _predict_fingerprints(self) -> None:
        for stage, fingerprint in foretell_fingerprints(Path()).items():
            path = f"{PRINTS}/{stage}.json"
            self.prints[path] = json_text(fingerprint).encode()
            self.after[path] = md5(self.prints[path], usedforsecurity=False).hexdigest()

    def hash_of(self, stage_path: StagePath) -> str | None:
        """Return the MD5 that a path will have; "" for nothing there, None where it is unknown."""
        path = stage_path.path
        if path in self.after:
            return self.after[path]
        for folder in map(str, PurePosixPath(path).parents):
            if folder in self.after:
                return self._hash_inside(stage_path, folder)
        if any(changing.startswith(f"{path}/") for changing in self.changing):
            return None
        return self.build.md5(stage_path)

    def _hash_inside(self, stage_path: StagePath, folder: str) -> str | None:
        """Return the MD5 of a path inside a folder that a stage makes."""
        content = self.after[folder]
        if content is None:
            return None
        listing = self.build.listing(content)
        file_md5 = (listing or {}).get(stage_path.path[len(folder) + 1 :])
        if file_md5:
            return file_md5
        if folder in self.changing and listing:
            return None
        return self.build.md5(stage_path)

    def makers_of(self, path: str) -> set[str]:
        """Return the stages that make `path`, a folder above it, or something below it."""
        path_and_parents = {path, *map(str, PurePosixPath(path).parents)}
        makers = set()
        for output, stage in self.maker.items():
            if output in path_and_parents or output.startswith(f"{path}/"):
                makers.add(stage)
        return makers

    def fingerprint(self, path: str, content: str) -> dict[str, Any] | None:
        """Return the fingerprint with the MD5 `content` that will be at `path`; None where it is lost."""
        data = self.prints.get(path) or self.build.content(content)
        return json.loads(data) if data else None
