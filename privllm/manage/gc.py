"""gc: forget what the store has not used for longest, until the rest fits.

The store keeps an action (which objects a shard became) for everything it ever made, and the objects in DVC's cache. Here the
actions used last are kept as long as they and their objects fit; of the others go the actions, and then those of their objects
that neither a kept action nor DVC refers to (`references`). An object that no action names is not the store's and is not touched.

An action goes before its objects, and one action after the other, the oldest first: when this is stopped at any moment, what is
left is a smaller store. A build beside it makes what it misses again.
"""

import json
import re
from collections import Counter
from collections.abc import Set
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from privllm.core.errors import UserError
from privllm.engine.actions import action_path
from privllm.engine.cache import Cache, find_cache
from privllm.manage.dvc_references import exclusive, references

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
KEPT_NOTES = 4  # of each kind: one for every version of code and parameters that people switch between
LAST = "last"  # the kind of note that leads to an action, and goes with it
MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Action:
    """One file of the store's table."""

    path: Path
    used: int  # when last, ns
    bytes: int  # of the file itself
    objects: dict[str, int]  # MD5 -> bytes


@dataclass
class Heap:
    """Some objects."""

    count: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.count, self.bytes = self.count + 1, self.bytes + size


@dataclass
class Freed:
    """What was kept and dropped, or would be."""

    kept: int = 0  # actions
    dropped: int = 0
    held: Heap = field(default_factory=Heap)  # the objects of kept actions
    freed: Heap = field(default_factory=Heap)
    referenced: Heap = field(default_factory=Heap)  # objects of dropped actions that DVC refers to
    notes: int = 0  # dropped

    def lines(self, dry_run: bool) -> list[str]:
        """For a person."""
        drop, free = ("would drop", "would free") if dry_run else ("dropped", "freed")
        return [
            f"actions  kept {self.kept:,} with {self.held.count:,} objects ({size_text(self.held.bytes)}), {drop} {self.dropped:,}",
            f"objects  {free} {self.freed.count:,} ({size_text(self.freed.bytes)})",
            f"git      {self.referenced.count:,} more stay because DVC refers to them ({size_text(self.referenced.bytes)})",
            f"notes    {drop} {self.notes:,}",
        ]


def collect_garbage(keep: str, dry_run: bool, projects: list[Path]) -> Freed:
    """Make the store of the repository in the working directory fit into `keep` ("20GB"); `dry_run` changes nothing.

    `projects` are other repositories that share its cache. Raises UserError for a size that is none, where there is no repository,
    where DVC is at work, and where the cache lies outside the repository and `projects` is empty.
    """
    limit, cache = parse_size(keep), find_cache(Path())
    if cache is None:
        raise UserError("there is no DVC repository here: run this from the root of the repository.")
    if not projects and not cache.folder.resolve().is_relative_to(Path().resolve()):
        raise UserError(
            f"the cache {cache.folder} lies outside this repository, so others may refer to what is in it: "
            "name each of them with --project, or say `--project .` if there is none."
        )
    used = references([Path(), *projects], revisions=True)  # slow, and nobody has to wait for it
    with nullcontext() if dry_run else exclusive(Path()):
        used |= references([Path(), *projects], revisions=False)
        return drop(cache, limit, used, dry_run)


def drop(cache: Cache, limit: int, used: Set[str], dry_run: bool) -> Freed:
    """Keep the actions used last while they and their objects fit into `limit` bytes; `used` are the MD5s that DVC refers to."""
    actions = read_actions(cache)
    fit = how_many_fit(actions, limit)
    found, gone = Freed(kept=fit), set[Path]()
    named = Counter(name for action in actions for name in action.objects)
    for action in reversed(actions[fit:]):
        if not dry_run and not _unlink_unless_used(action):
            found.kept += 1
            continue
        gone.add(action.path)
        for name in action.objects:
            named[name] -= 1
            if not named[name]:
                _free(cache.path(name), name in used, found, dry_run)
    held = {name: size for action in actions for name, size in action.objects.items() if named[name]}
    found.held = Heap(len(held), sum(held.values()))
    found.dropped, found.notes = len(gone), _drop_notes(cache, gone, dry_run)
    return found


def read_actions(cache: Cache) -> list[Action]:
    """Every action, those used last first. One that cannot be read names no objects, and nobody can use it."""
    actions = []
    for path in (cache.folder / "privllm" / "actions").glob("??/*.json"):
        with suppress(FileNotFoundError):
            status = path.stat()
            try:
                objects = {str(name): int(size) for name, size in json.loads(path.read_text("utf-8"))["files"].values()}
            except (ValueError, KeyError, TypeError, AttributeError):
                objects = {}
            if not all(MD5.fullmatch(name) for name in objects):
                objects = {}  # a name might lead out of the cache
            actions.append(Action(path, status.st_mtime_ns, status.st_size, objects))
    return sorted(actions, key=lambda action: (-action.used, action.path))


def how_many_fit(actions: list[Action], limit: int) -> int:
    """How many of the first actions fit into `limit` bytes with their distinct objects."""
    seen: set[str] = set()
    total = 0
    for count, action in enumerate(actions):
        total += action.bytes + sum(size for name, size in action.objects.items() if name not in seen)
        seen |= action.objects.keys()
        if total > limit:
            return count
    return len(actions)


def _unlink_unless_used(action: Action) -> bool:
    """Drop the action, unless a build has used it since it was read."""
    try:
        if action.path.stat().st_mtime_ns != action.used:
            return False
        action.path.unlink()
    except FileNotFoundError:
        pass  # another one dropped it; its objects may still be there
    return True


def _free(path: Path, referenced: bool, found: Freed, dry_run: bool) -> None:
    with suppress(FileNotFoundError):
        size = path.stat().st_size
        if not referenced and not dry_run:
            path.unlink()
        (found.referenced if referenced else found.freed).add(size)


def _drop_notes(cache: Cache, gone: Set[Path], dry_run: bool) -> int:
    """Drop notes that lead to an action that is `gone`, and of other kinds all but the newest few."""
    dropped: list[Path] = []
    for folder in (folder for folder in (cache.folder / "privllm").glob("*/") if folder.name != "actions"):
        notes = [path for path in folder.iterdir() if MD5.fullmatch(path.name)]
        if folder.name == LAST:
            dropped += [path for path in notes if (action := _action_of(cache, path)) in gone or not action.exists()]
        else:
            dropped += sorted(notes, key=lambda path: path.stat().st_mtime_ns, reverse=True)[KEPT_NOTES:]
    for path in () if dry_run else dropped:
        path.unlink(missing_ok=True)
    return len(dropped)


def _action_of(cache: Cache, note: Path) -> Path:
    try:
        return action_path(cache, json.loads(note.read_text("utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return note.with_name("unreadable")


def parse_size(text: str) -> int:
    """Bytes from "20GB", "1.5 TB", "500mb" or "0"; a thousand bytes are a kilobyte. Raises UserError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in UNITS:
        raise UserError(f"`{text}` is no size: write a number of bytes, or 500MB, 20GB, 1.5TB.")
    return int(float(found[1]) * UNITS[found[2].upper()])


def size_text(size: int) -> str:
    """3.1 GB, 12 B."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f} {unit}"
    return f"{size} B"
