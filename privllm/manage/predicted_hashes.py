"""What the paths of the build will hold when `dvc repro` comes to them, as far as that can be known before.

What no stage makes, or an up to date one made, is as it lies there. What the run cache restores is as it is listed there. What
a stage must make first cannot be known, but for the fingerprints: they are read off the source, here in memory.
"""

import json
from hashlib import md5
from pathlib import Path, PurePosixPath
from typing import Any

from privllm.core.report import json_text
from privllm.engine.fingerprint import FOLDER, foretell_fingerprints
from privllm.manage.dvc_state import Build, Place, Stage

PRINTS = FOLDER.as_posix()


class Forecast:
    """Filled stage by stage, in the order of the build."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.maker: dict[str, str] = {}  # name of the stage that makes a path
        self.after: dict[str, str | None] = {}  # MD5 of a path that a stage makes; None: nobody knows
        self.changing: set[str] = set()  # paths that a stage makes, and that may hold something else afterwards
        self.prints: dict[str, bytes] = {}  # fingerprints that are to be written, by path

    def settle(self, stage: Stage, contents: dict[str, str] | None, lies_there: bool = False) -> None:
        """Say what a stage's outputs will be, MD5 by path; None where it must run first. `lies_there`: they are that already."""
        for out in stage.outs:
            if not lies_there:
                self.changing.add(out.path)
            self.maker[out.path] = stage.name
            self.after[out.path] = contents[out.path] if contents else None
            if out.path == PRINTS and not contents:
                self._foretell_prints()

    def _foretell_prints(self) -> None:
        for stage, found in foretell_fingerprints(Path()).items():
            path = f"{PRINTS}/{stage}.json"
            self.prints[path] = json_text(found).encode()
            self.after[path] = md5(self.prints[path], usedforsecurity=False).hexdigest()

    def of(self, place: Place) -> str | None:
        """The MD5 of what will lie there; "" for nothing, None where nobody knows."""
        for path in (place.path, *map(str, PurePosixPath(place.path).parents)):
            if path not in self.after:
                continue
            content = self.after[path]
            if path == place.path or content is None:
                return content
            listing = self.build.listing(content)
            inside = (listing or {}).get(place.path[len(path) + 1 :])
            return inside or (None if path in self.changing and listing else self.build.md5(place))
        return None if any(path.startswith(f"{place.path}/") for path in self.changing) else self.build.md5(place)

    def makers_of(self, path: str) -> set[str]:
        """The stages that make `path`, a folder above it, or what lies below it."""
        above = {str(one) for one in (PurePosixPath(path), *PurePosixPath(path).parents)}
        return {maker for made, maker in self.maker.items() if made in above or made.startswith(f"{path}/")}

    def fingerprint(self, path: str, content: str) -> dict[str, Any] | None:
        """The fingerprint with the MD5 `content` that will lie at `path`; None where its text is lost."""
        data = self.prints.get(path) or self.build.content(content)
        return json.loads(data) if data else None
