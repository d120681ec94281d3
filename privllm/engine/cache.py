"""DVC's cache as an object store: where it is, and how a file is put into it and taken out.

Objects are named by their MD5 and are read-only, as DVC 3 lays them out (`files/md5/ab/cdef...`).
So a shard that a stage has made is stored once, whether DVC or the store put it there first.
Nothing is ever deleted.
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
    """A DVC cache folder, and the kinds of link that may lead into it, best first."""

    folder: Path
    links: tuple[str, ...] = ("reflink", "copy")

    def path(self, name: str) -> Path:
        """Return where the object with the MD5 `name` lies, or would lie."""
        return self.folder / "files" / "md5" / name[:2] / name[2:]

    def holds(self, name: str, size: int) -> bool:
        """Return whether there is such an object, with the size and mode of a complete one."""
        with suppress(OSError):
            status = self.path(name).stat()
            return status.st_size == size and status.st_mode & 0o777 == MODE
        return False

    def listing(self, name: str) -> dict[str, str] | None:
        """Return {path below a folder: MD5} of the directory object `name` (".dir" at its end).

        None where it is missing.
        """
        try:
            entries = json.loads(self.path(name).read_text("utf-8"))
            return {entry["relpath"]: entry["md5"] for entry in entries}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, path: Path) -> str:
        """Store the file and return its MD5.

        With hard links the file becomes a link to the object.
        """
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
        """Write the object `name` to `path`, whose folder exists.

        A reader never sees half a file.
        """
        partial = path.with_name(f"{path.name}.partial")
        place(self.path(name), partial, self.links)
        partial.replace(path)

    def lend(self, name: str, path: Path) -> None:
        """Make `path`, whose folder exists, a symbolic link to the object `name`, for reading."""
        path.symlink_to(self.path(name).resolve(strict=True))


def place(source: Path, target: Path, links: tuple[str, ...]) -> None:
    """Give `target` the bytes of `source`, by the first kind of link that works."""
    target.unlink(missing_ok=True)
    for kind in links:
        if kind == "copy":
            break
        link = reflink if kind == "reflink" else os.link
        with suppress(OSError):
            link(source, target)
            return
    shutil.copyfile(source, target)


def reflink(source: Path, target: Path) -> None:
    """Make `target` share the blocks of `source`. Raises OSError where the file system cannot."""
    if sys.platform != "linux":
        raise OSError("no reflinks")
    try:
        with source.open("rb") as source_file, target.open("wb") as target_file:
            fcntl.ioctl(target_file.fileno(), FICLONE, source_file.fileno())
    except OSError:
        target.unlink(missing_ok=True)
        raise


def config_files(root: Path) -> tuple[Path, ...]:
    """Return where DVC's configuration of the repository at `root` may lie; a later file overrides the ones before."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    dvc = root / ".dvc"
    return Path("/etc/xdg/dvc/config"), home / "dvc/config", dvc / "config", dvc / "config.local"


def find_cache(root: Path) -> Cache | None:
    """Return the cache of the DVC repository at `root` as DVC's own configuration sets it.

    None where there is none.
    """
    dvc = root / ".dvc"
    if not dvc.is_dir():
        return None
    folder, links = dvc / "cache", Cache.links
    for file in config_files(root):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        with suppress(configparser.Error, OSError):
            parser.read(file, "utf-8")
        configured_folder = parser.get("cache", "dir", fallback="")
        if configured_folder:
            folder = (file.parent / configured_folder.strip("'\"")).resolve()
        configured_links = parser.get("cache", "type", fallback="")
        if configured_links:
            kinds = [kind.strip(" '\"") for kind in configured_links.split(",")]
            links = tuple(kind for kind in kinds if kind in LINKS) or ("copy",)
    return Cache(folder, links)
