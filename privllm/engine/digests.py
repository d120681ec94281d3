"""The MD5 of files (DVC's name for their content), remembered while size, times and inode stay the same.

As git's index does: a file is read again when its status differs, or when it was written so shortly before the memory was
saved that a later write could hide in the same tick of the clock.
"""

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b, file_digest, md5
from pathlib import Path
from time import time_ns

from privllm.core.seed import ID_BYTES, name_digest

TICK_NS = 20_000_000  # a kernel's clock may stand still for 10 ms
Status = tuple[int, int, int, int]


def md5_of(path: Path) -> str:
    """32 hexadecimal digits; reads a megabyte at a time."""
    found = md5(usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def digest_of(places: Iterable[Path]) -> str:
    """One BLAKE2b-128 of the names and bytes of files, and of all files below folders, in whatever order they are given.

    A file counts by its name, one below a folder by its path from there. For outputs, which must not depend on DVC's choice of a hash.
    """
    named: list[tuple[str, Path]] = []
    for place in places:
        below = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else None
        named += [(place.name, place)] if below is None else [(path.relative_to(place).as_posix(), path) for path in below]
    parts: list[str] = []
    for name, path in sorted(named):
        with path.open("rb") as file:
            parts += [name, file_digest(file, lambda: blake2b(digest_size=ID_BYTES)).hexdigest()]
    return name_digest("files", *parts)


def status_of(path: Path) -> Status:
    """(bytes, modified ns, changed ns, inode): what a write cannot leave alone."""
    return status_in(path.stat())


def status_in(status: os.stat_result) -> Status:
    """`status_of` a file that was asked already."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def unique() -> str:
    """Part of a file's name that no other process has; a process's number would do on one machine, not on a shared file system."""
    return secrets.token_hex(8)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name that nobody else has, to be written; it takes the place of `path` at the end, so a reader never sees half a file.

    Where writing fails nothing is left: on a full disk every attempt would fill it further.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{unique()}")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Digests:
    """`of(path)` is the file's MD5; `save` keeps what was learnt. Losing the file costs time only."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._known: dict[str, tuple[Status, str]] = {}
        if file:
            self._load(file)

    def _load(self, file: Path) -> None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_text("utf-8"))
            safe = kept["saved"] - TICK_NS
            self._known = {path: (tuple(status), name) for path, (status, name) in kept["files"].items() if max(status[1:3]) < safe}

    def of(self, path: Path) -> str:
        """Raises OSError where the file cannot be read."""
        key, status = str(path), status_of(path)
        found = self._known.get(key)
        if found is None or found[0] != status:
            found = status, md5_of(path)
            self._known[key] = found
        return found[1]

    def learn(self, path: Path, name: str, status: Status) -> None:
        """A file that this process has read or written whole has the MD5 `name`."""
        self._known[str(path)] = status, name

    def save(self) -> None:
        if self.file is None:
            return
        self._known = {path: found for path, found in self._known.items() if Path(path).exists()}
        with replacing(self.file) as partial:
            partial.write_text(json.dumps({"saved": time_ns(), "files": self._known}), "utf-8")
