"""MD5s of files (DVC's name for their content), cached while size, times and inode stay the same.

As in git's index, a file is read again when its status differs, or when it was written so shortly
before the MD5s were saved that a later write could hide in the same tick of the clock.
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
    """Return the MD5 of a file, 32 hexadecimal digits; reads a megabyte at a time."""
    hasher = md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


def digest_of_file(path: Path) -> str:
    """Return `seed.digest` of a file's bytes, without holding them all."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=ID_BYTES)).hexdigest()


def digest_of(paths: Iterable[Path]) -> str:
    """Return one BLAKE2b-128 of the names and bytes of files, and of all below folders.

    A file counts by its name, one below a folder by its path from there. For outputs, which must
    not depend on DVC's choice of a hash.
    """
    named_files: list[tuple[str, Path]] = []
    for path in paths:
        named_files += _named_files(path)
    names_and_digests: list[str] = []
    for name, file_path in sorted(named_files):
        names_and_digests += [name, digest_of_file(file_path)]
    return name_digest("files", *names_and_digests)


def _named_files(path: Path) -> list[tuple[str, Path]]:
    """Return (name, path) of a file, or of each file below a folder."""
    if not path.is_dir():
        return [(path.name, path)]
    return [(file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file()]


def status_of(path: Path) -> Status:
    """Return (bytes, modified ns, changed ns, inode) of a file: every write changes one of them."""
    return status_in(path.stat())


def status_in(status: os.stat_result) -> Status:
    """Return `status_of` a file from what the system reported of it."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def unique() -> str:
    """Return a part of a file's name that no other process uses, on this or another machine."""
    return secrets.token_hex(8)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a unique name to write to, and replace `path` by it at the end.

    So a reader never sees half a file.

    If writing fails, the file is removed: on a full disk every attempt would fill it further.
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
    """Flush a file, or the names in a folder, to the disk, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Digests:
    """MD5s of files by path and status. Losing the file in which they are saved costs time only."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._entries: dict[str, tuple[Status, str]] = {}  # {path: (status, MD5)}
        if file:
            self._load(file)

    def _load(self, file: Path) -> None:
        """Read the entries of files that were written clearly before the entries were saved."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(file.read_text("utf-8"))
            entries = {}
            for path, (status, md5_name) in record["files"].items():
                last_write = max(status[1:3])
                if last_write < record["saved"] - TICK_NS:
                    entries[path] = tuple(status), md5_name
            self._entries = entries

    def of(self, path: Path) -> str:
        """Return the MD5 of a file. Raises OSError where it cannot be read."""
        key, status = str(path), status_of(path)
        entry = self._entries.get(key)
        if entry is None or entry[0] != status:
            entry = status, md5_of(path)
            self._entries[key] = entry
        return entry[1]

    def learn(self, path: Path, name: str, status: Status) -> None:
        """Note that a file that this process has read or written whole has the MD5 `name`."""
        self._entries[str(path)] = status, name

    def save(self) -> None:
        """Write the entries of all files that still exist."""
        if self.file is None:
            return
        self._entries = {path: entry for path, entry in self._entries.items() if Path(path).exists()}
        with replacing(self.file) as partial:
            partial.write_text(json.dumps({"saved": time_ns(), "files": self._entries}), "utf-8")
