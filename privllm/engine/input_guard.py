"""Guard of a stage's inputs: did one change while the stage ran?

DVC hashes what a stage depends on after it has run (dvc #11058), so the lock file would pair the
result of the old input with the new one. Size, time and inode are compared of every file that
dvc.yaml declares for the stage, and the values of the declared sections of params.yaml. A file that
was only touched counts as changed. Code is not compared: what ran was loaded at the start, as its
fingerprint says.
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

FileState = tuple[str, int, int, int]  # path, bytes, modified ns, inode


class InputGuard:
    """The inputs that dvc.yaml declares for a stage, as they are before it runs."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.paths = [str(path) for path in declared.get("deps", [])]
        self.sections = [str(section) for section in declared.get("params", [])]
        self.states = file_hashes(self.paths)
        self.params = self._read_sections()

    def verify(self) -> None:
        """Raise UserError where an input has changed since."""
        present_states = file_hashes(self.paths)
        for folder in sorted(present_states.keys() | self.states.keys()):
            if self.states.get(folder) != present_states.get(folder):
                raise UserError(_changed(self._changed_file(folder)))
        if self._read_sections() != self.params:
            raise UserError(_changed("params.yaml"))

    def _changed_file(self, folder: str) -> str:
        """Return the first file of a folder that is new or changed.

        Where one was removed, a name for any.
        """
        earlier_hashes = self.states.get(folder, array("q"))
        for path in self.paths:
            for file in _files(path):
                if _folder(file) == folder and hash(file) not in earlier_hashes:
                    return file[0]
        return f"A file in {folder or '.'}"

    def _read_sections(self) -> dict[str, Any]:
        if not self.sections:
            return {}
        values = load_sections()
        return {name: look_up(name, values) for name in self.sections}


def _changed(name: str) -> str:
    return f"{name} was changed while this ran, so the result would belong to neither version. Run `dvc repro` again."


def _folder(file: FileState) -> str:
    return file[0].rpartition(os.sep)[0]


def file_hashes(paths: Sequence[str]) -> "dict[str, array[int]]":
    """Return {folder: sorted hashes of the states of its files}.

    Only hashes, for there may be very many files, and this stays in memory while the stage works.
    """
    hashes_by_folder: defaultdict[str, list[int]] = defaultdict(list)
    for path in paths:
        for file in _files(path):
            hashes_by_folder[_folder(file)].append(hash(file))
    return {folder: array("q", sorted(hashes)) for folder, hashes in hashes_by_folder.items()}


def _files(path: str) -> Iterator[FileState]:
    """Yield every file at or below a path; none where it is missing."""
    waiting = [path]
    while waiting:
        present_path = waiting.pop()
        try:
            with os.scandir(present_path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield _state(entry.path, entry.stat(follow_symlinks=False))
        except NotADirectoryError:
            yield _state(present_path, Path(present_path).stat())
        except FileNotFoundError:
            continue


def _state(path: str, status: os.stat_result) -> FileState:
    return path, status.st_size, status.st_mtime_ns, status.st_ino
