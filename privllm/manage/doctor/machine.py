"""Checks of the machine: cores, memory, disk, and links between DVC's cache and the workspace.

Each function returns a finding from what it is given; `report` looks at the machine.
"""

import os
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from privllm.engine.cache import reflink
from privllm.manage.doctor.finding import GIB, Finding, State, in_gb

LOW_MEMORY = 3 * GIB  # a rule of thumb: torch, a small model with its optimizer, and the other programs
LOW_DISK = 5 * GIB  # the libraries alone take 3
LOW_SHARE, ENOUGH_DISK = 0.1, 50 * GIB  # a tenth of a disk is little, unless that is much
UNLIMITED = 1 << 60  # cgroup 1 writes a number near 2^63 for "no limit"


def cores_finding(available: int, present: int) -> Finding:
    """Return how many cores a build may use: that many processes or threads work at once."""
    if available < present:
        value = f"{available} of the machine's {present} may be used (taskset, a batch system or a container says so)"
        return Finding("cores", State.ok, value)
    return Finding("cores", State.ok, str(available))


def memory_finding(available: int, total: int) -> Finding:
    """Return whether there is memory for training a small model."""
    value = f"{in_gb(available)} free of {in_gb(total)}"
    if available < LOW_MEMORY:
        return Finding("memory", State.warning, value, "close other programs, or lower `batch_size` and `pack.context`")
    return Finding("memory", State.ok, value)


def memory_of_machine(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Return (available, total) bytes, of a container where its limit is lower; (0, 0) where the system says nothing."""
    sizes: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in meminfo.read_text("utf-8").splitlines():
            name, _, rest = line.partition(":")
            sizes[name] = int(rest.split()[0]) << 10 if rest.split() else 0
    total = sizes.get("MemTotal", 0)
    available = sizes.get("MemAvailable", total)
    if not total:  # macOS has no /proc, and says how much there is, but not how much is free
        with suppress(OSError, ValueError):
            total = available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # "max" is no number
            limit = int((cgroup / limit_file).read_text("utf-8"))
            used = int((cgroup / used_file).read_text("utf-8"))
            if limit < min(total, UNLIMITED):
                total, available = limit, min(available, limit - used)
    return available, total


def disk_finding(check: str, folder: Path, free: int, total: int) -> Finding:
    """Return whether there is space for a build: every output lies in the workspace and in DVC's cache."""
    value = f"{in_gb(free)} free of {in_gb(total)} at {folder}"
    is_small_share = free < LOW_SHARE * total and free < ENOUGH_DISK
    if free < LOW_DISK or is_small_share:
        return Finding(check, State.warning, value, "privllm gc --keep 5GB")
    return Finding(check, State.ok, value)


def links_finding(configured: Sequence[str], working: Collection[str], cache: Path) -> Finding:
    """Return how outputs come from the cache into the workspace, and whether that is what `cache.type` asks for."""
    first = next((kind for kind in configured if kind in working), "copy")
    names = {"reflink": "reflinks", "hardlink": "hard links", "copy": "copies"}
    if first != "copy":
        return Finding("cache links", State.ok, f"{names[first]}: outputs take their space once")
    if "hardlink" in configured:
        value = f"cache.type asks for hard links, which do not work from {cache}: outputs are copied"
        return Finding("cache links", State.warning, value, "dvc cache dir .dvc/cache")
    reason = "this file system has no reflinks" if "reflink" in configured else "as cache.type says"
    return Finding("cache links", State.ok, f"copies ({reason}): outputs take their space twice")


def working_links(cache: Path, workspace: Path) -> set[str]:
    """Return which kinds of link lead from the cache's file system into the workspace. Tried with an empty file each."""
    working = {"copy"}
    folder = existing_parent(cache)
    with (
        suppress(OSError),
        tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as source,
        tempfile.TemporaryDirectory(dir=workspace, prefix=".doctor-") as target,
    ):
        for kind, link in (("reflink", reflink), ("hardlink", os.link)):
            with suppress(OSError):
                link(Path(source.name), Path(target) / kind)
                working.add(kind)
    return working


def existing_parent(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    for parent in (folder.absolute(), *folder.absolute().parents):
        if parent.is_dir():
            return parent
    return Path("/")
