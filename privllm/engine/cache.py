"""DVC's cache as a place to put bytes: where it is, and how a file goes in and comes out.

Objects are named by their MD5 and are read-only, as DVC 3 lays them out (`files/md5/ab/cdef...`). So a shard that a stage
has made is stored once, whether DVC or the store put it there first. Nothing here deletes.
"""

import configparser
import fcntl
import json
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from privllm.engine.digests import md5_of, replacing

MODE = 0o444  # DVC trusts an object that has it without reading it
FICLONE = 0x40049409  # ioctl of Linux: share the blocks of another file (btrfs, XFS)
LINKS = ("reflink", "hardlink", "copy")


@dataclass(frozen=True)
class Cache:
    """A DVC cache folder, and the kinds of link that may lead from the working folder into it, best first."""

    folder: Path
    links: tuple[str, ...] = ("reflink", "copy")

    def path(self, name: str) -> Path:
        return self.folder / "files" / "md5" / name[:2] / name[2:]

    def holds(self, name: str, size: int) -> bool:
        """Is there such an object, whole as far as its size and mode tell?"""
        with suppress(OSError):
            status = self.path(name).stat()
            return status.st_size == size and status.st_mode & 0o777 == MODE
        return False

    def listing(self, name: str) -> dict[str, str] | None:
        """{path below a folder: MD5} of the directory object `name` (it ends in ".dir"); None where it is not there."""
        try:
            return {entry["relpath"]: entry["md5"] for entry in json.loads(self.path(name).read_text("utf-8"))}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, path: Path) -> str:
        """Store the file and return its MD5. The file becomes a link to the object where links are hard."""
        name, size = md5_of(path), path.stat().st_size
        target = self.path(name)
        if not self.holds(name, size):
            with replacing(target) as partial:
                place(path, partial, self.links)
                partial.chmod(MODE)
        elif "hardlink" in self.links:
            self.get(name, path)
        return name

    def get(self, name: str, path: Path) -> None:
        """Make `path`, whose folder exists, the object `name`; a reader never sees half a file."""
        partial = path.with_name(f"{path.name}.partial")
        place(self.path(name), partial, self.links)
        partial.replace(path)

    def lend(self, name: str, path: Path) -> None:
        """Make `path`, whose folder exists and where nothing is, lead to the object `name`, for reading."""
        path.symlink_to(self.path(name).resolve(strict=True))


def place(source: Path, target: Path, links: tuple[str, ...]) -> None:
    """`target` with the bytes of `source`, by the first kind of link that works here."""
    target.unlink(missing_ok=True)
    for kind in links:
        if kind == "copy":
            break
        with suppress(OSError):
            (_reflink if kind == "reflink" else os.link)(source, target)
            return
    shutil.copyfile(source, target)


def _reflink(source: Path, target: Path) -> None:
    if sys.platform != "linux":
        raise OSError("no reflinks")
    try:
        with source.open("rb") as old, target.open("wb") as new:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
    except OSError:
        target.unlink(missing_ok=True)
        raise


def find_cache(root: Path) -> Cache | None:
    """The cache of the DVC repository at `root`, None where there is none. DVC's own configuration decides."""
    dvc = root / ".dvc"
    if not dvc.is_dir():
        return None
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder, links = dvc / "cache", Cache.links
    for file in (Path("/etc/xdg/dvc/config"), home / "dvc/config", dvc / "config", dvc / "config.local"):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        with suppress(configparser.Error, OSError):
            parser.read(file, "utf-8")
        if where := parser.get("cache", "dir", fallback=""):
            folder = (file.parent / where.strip("'\"")).resolve()
        if types := parser.get("cache", "type", fallback=""):
            links = tuple(kind for kind in (part.strip(" '\"") for part in types.split(",")) if kind in LINKS) or ("copy",)
    return Cache(folder, links)
