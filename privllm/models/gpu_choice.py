"""Which of a machine's GPUs a process takes: the first that no other process of ours works on.

So `dvc queue start -j 4` fills four of them. Each GPU has a file in the user's cache folder, which a process locks as long as it
lives; the system takes the lock away however the process ends.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_held: list[BinaryIO] = []  # open, and so locked, until this process ends


def free_gpu(names: Sequence[str]) -> int:
    """Take one of the GPUs with these names; return its place, 0 where all are taken or no file can be locked."""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            if _lock(folder / f"{name}.lock"):
                return number
    except OSError:  # a home that cannot be written: what there was before
        return 0
    return 0


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "privllm/gpus"


def _lock(path: Path) -> bool:
    """Lock the file; return False where another process has."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _held.append(file)
    return True
