"""Did an input change while a stage ran? DVC hashes what a stage depends on after it has run (dvc #11058), so the lock file
would pair the result of the old input with the new one.

It compares size, time and inode of every file that dvc.yaml declares for the stage, and the declared sections of params.yaml.
A file that was only touched counts as changed. Code is not compared: what ran was loaded at the start, as its fingerprint says.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.params import load_sections
from privllm.core.pipeline import look_up

Seen = dict[str, tuple[int, int, int]]


class Witness:
    """Made before the stage runs, of what dvc.yaml declares of it; `verify` afterwards."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.paths = [str(path) for path in declared.get("deps", [])]
        self.sections = [str(section) for section in declared.get("params", [])]
        self.files, self.params = look_at(self.paths), self._params()

    def verify(self) -> None:
        """Raise UserError where something is not as it was."""
        now = look_at(self.paths)
        changed = sorted(set(self.files.items()) ^ set(now.items()))
        if changed:
            raise UserError(
                f"{changed[0][0]} was changed while this ran, so the result would belong to neither version. Run `dvc repro` again."
            )
        if self._params() != self.params:
            raise UserError("params.yaml was changed while this ran, so the result would belong to neither version. Run `dvc repro` again.")

    def _params(self) -> dict[str, Any]:
        return {name: look_up(name, values) for name in self.sections} if self.sections and (values := load_sections()) else {}


def look_at(paths: list[str]) -> Seen:
    """(bytes, modified ns, inode) of every file at or below some paths; what is missing is left out."""
    seen: Seen = {}
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        status = entry.stat(follow_symlinks=False)
                        seen[entry.path] = status.st_size, status.st_mtime_ns, status.st_ino
        except NotADirectoryError:
            status = Path(path).stat()
            seen[path] = status.st_size, status.st_mtime_ns, status.st_ino
        except FileNotFoundError:
            continue
    return seen
