"""Did an input change while a stage ran? DVC hashes what a stage depends on after it has run (dvc #11058), so the lock file
would pair the result of the old input with the new one.

It compares size, time and inode of every file that dvc.yaml declares for the stage, and the declared sections of params.yaml.
A file that was only touched counts as changed. Code is not compared: what ran was loaded at the start, as its fingerprint says.
"""

import os
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.params import load_sections
from privllm.engine.pipeline import look_up

File = tuple[str, int, int, int]  # path, bytes, modified ns, inode


class InputGuard:
    """Made before the stage runs, of what dvc.yaml declares of it; `verify` afterwards."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.paths = [str(path) for path in declared.get("deps", [])]
        self.sections = [str(section) for section in declared.get("params", [])]
        self.seen, self.params = look_at(self.paths), self._params()

    def verify(self) -> None:
        """Raise UserError where something is not as it was."""
        now = look_at(self.paths)
        for folder in sorted(now.keys() | self.seen.keys()):
            before = self.seen.get(folder, array("q"))
            if before != now.get(folder):
                here = (file for path in self.paths for file in _files(path) if _folder(file) == folder)
                raise UserError(_changed(next((file[0] for file in here if hash(file) not in before), f"A file in {folder or '.'}")))
        if self._params() != self.params:
            raise UserError(_changed("params.yaml"))

    def _params(self) -> dict[str, Any]:
        return {name: look_up(name, values) for name in self.sections} if self.sections and (values := load_sections()) else {}


def _changed(name: str) -> str:
    return f"{name} was changed while this ran, so the result would belong to neither version. Run `dvc repro` again."


def _folder(file: File) -> str:
    return file[0].rpartition(os.sep)[0]


def look_at(paths: Sequence[str]) -> "dict[str, array[int]]":
    """By folder a hash of each of its files: there may be very many, and this is kept while the stage works."""
    seen: defaultdict[str, list[int]] = defaultdict(list)
    for path in paths:
        for file in _files(path):
            seen[_folder(file)].append(hash(file))
    return {folder: array("q", sorted(hashes)) for folder, hashes in seen.items()}


def _files(path: str) -> Iterator[File]:
    """Every file at or below a path; none where it is missing."""
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        status = entry.stat(follow_symlinks=False)
                        yield entry.path, status.st_size, status.st_mtime_ns, status.st_ino
        except NotADirectoryError:
            status = Path(here).stat()
            yield here, status.st_size, status.st_mtime_ns, status.st_ino
        except FileNotFoundError:
            continue
