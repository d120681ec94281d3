"""gc: removal of the least recently used shards from the store, until the rest fits a size limit.

The store keeps an action (which objects a shard became) for everything it ever made, and the objects in
DVC's cache. The most recently used actions are kept as long as they and their objects fit. The remaining
actions are dropped, and then those of their objects that neither a kept action nor DVC refers to
(`references`). An object that no action names does not belong to the store and is not touched.

An action is dropped before its objects, one action after the other, the oldest first: if this is stopped
at any moment, a smaller store remains. A build that runs meanwhile makes again what it misses.
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
LAST = "last"  # the kind of note that leads to an action, and is dropped with it
MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Action:
    """One action file of the store."""

    path: Path
    used: int  # when last, ns
    bytes: int  # of the file itself
    objects: dict[str, int]  # MD5 -> bytes


@dataclass
class ObjectTotals:
    """Number and size of some objects."""

    count: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.count += 1
        self.bytes += size


@dataclass
class Freed:
    """Totals of what was kept and dropped, or would be."""

    kept: int = 0  # actions
    dropped: int = 0
    held: ObjectTotals = field(default_factory=ObjectTotals)  # the objects of kept actions
    freed: ObjectTotals = field(default_factory=ObjectTotals)
    referenced: ObjectTotals = field(default_factory=ObjectTotals)  # objects of dropped actions that DVC refers to
    notes: int = 0  # dropped

    def lines(self, dry_run: bool) -> list[str]:
        """Return the totals for a terminal."""
        drop, free = ("would drop", "would free") if dry_run else ("dropped", "freed")
        referenced_size = size_text(self.referenced.bytes)
        kept_objects = f"{self.held.count:,} objects ({size_text(self.held.bytes)})"
        return [
            f"actions  kept {self.kept:,} with {kept_objects}, {drop} {self.dropped:,}",
            f"objects  {free} {self.freed.count:,} ({size_text(self.freed.bytes)})",
            f"git      {self.referenced.count:,} more stay because DVC refers to them ({referenced_size})",
            f"notes    {drop} {self.notes:,}",
        ]


def collect_garbage(keep: str, dry_run: bool, projects: list[Path]) -> Freed:
    """Make the store of the repository in the working directory fit into `keep` ("20GB").

    dry_run: change nothing, only report. projects: other repositories that share the cache. Raises
    UserError for an invalid size, where there is no repository, where DVC is running, and where the cache
    is outside the repository and `projects` is empty.
    """
    limit, cache = parse_size(keep), find_cache(Path())
    if cache is None:
        raise UserError("there is no DVC repository here: run this from the root of the repository.")
    if not projects and not cache.folder.resolve().is_relative_to(Path().resolve()):
        raise UserError(
            f"the cache {cache.folder} is outside this repository, so other projects may refer to what is in it: "
            "name each of them with --project, or use `--project .` if there are none."
        )
    used = references([Path(), *projects], revisions=True)  # slow, and needs no lock
    with nullcontext() if dry_run else exclusive(Path()):
        used |= references([Path(), *projects], revisions=False)
        return drop(cache, limit, used, dry_run)


def drop(cache: Cache, limit: int, used: Set[str], dry_run: bool) -> Freed:
    """Keep the most recently used actions while they and their objects fit into `limit` bytes, drop the rest.

    used: the MD5s that DVC refers to.
    """
    actions = read_actions(cache)
    kept_count = how_many_fit(actions, limit)
    result, dropped = Freed(kept=kept_count), set[Path]()
    uses = Counter(name for action in actions for name in action.objects)
    for action in reversed(actions[kept_count:]):
        if not dry_run and not _unlink_unless_used(action):
            result.kept += 1
            continue
        dropped.add(action.path)
        for name in action.objects:
            uses[name] -= 1
            if not uses[name]:
                _free(cache.path(name), name in used, result, dry_run)
    held_sizes: dict[str, int] = {}
    for action in actions:
        held_sizes |= {name: size for name, size in action.objects.items() if uses[name]}
    result.held = ObjectTotals(len(held_sizes), sum(held_sizes.values()))
    result.dropped = len(dropped)
    result.notes = _drop_notes(cache, dropped, dry_run)
    return result


def read_actions(cache: Cache) -> list[Action]:
    """Return every action, the most recently used first. One that cannot be read has no objects."""
    actions = []
    for path in (cache.folder / "privllm" / "actions").glob("??/*.json"):
        with suppress(FileNotFoundError):
            status = path.stat()
            actions.append(Action(path, status.st_mtime_ns, status.st_size, _read_objects(path)))
    return sorted(actions, key=lambda action: (-action.used, action.path))


def _read_objects(path: Path) -> dict[str, int]:
    """Read the objects of an action, {MD5: bytes}; {} for an invalid file. Raises FileNotFoundError."""
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
        objects = {str(name): int(size) for name, size in files.values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    if not all(MD5.fullmatch(name) for name in objects):
        return {}  # a name might lead out of the cache
    return objects


def how_many_fit(actions: list[Action], limit: int) -> int:
    """Return how many of the first actions fit into `limit` bytes with their distinct objects."""
    counted: set[str] = set()
    total = 0
    for position, action in enumerate(actions):
        total += action.bytes
        total += sum(size for name, size in action.objects.items() if name not in counted)
        counted |= action.objects.keys()
        if total > limit:
            return position
    return len(actions)


def _unlink_unless_used(action: Action) -> bool:
    """Drop an action, unless a build has used it since it was read; return whether it is gone."""
    try:
        if action.path.stat().st_mtime_ns != action.used:
            return False
        action.path.unlink()
    except FileNotFoundError:
        pass  # another process dropped it; its objects may still be there
    return True


def _free(path: Path, referenced: bool, result: Freed, dry_run: bool) -> None:
    with suppress(FileNotFoundError):
        size = path.stat().st_size
        if not referenced and not dry_run:
            path.unlink()
        totals = result.referenced if referenced else result.freed
        totals.add(size)


def _drop_notes(cache: Cache, dropped_actions: Set[Path], dry_run: bool) -> int:
    """Drop notes of dropped actions, and of every other kind all but the newest; return how many."""
    outdated: list[Path] = []
    for folder in (cache.folder / "privllm").glob("*/"):
        if folder.name == "actions":
            continue
        notes = [path for path in folder.iterdir() if MD5.fullmatch(path.name)]
        if folder.name == LAST:
            outdated += [note for note in notes if not _leads_to_action(cache, note, dropped_actions)]
        else:
            newest_first = sorted(notes, key=lambda path: path.stat().st_mtime_ns, reverse=True)
            outdated += newest_first[KEPT_NOTES:]
    if not dry_run:
        for note in outdated:
            note.unlink(missing_ok=True)
    return len(outdated)


def _leads_to_action(cache: Cache, note: Path, dropped_actions: Set[Path]) -> bool:
    """Return whether a note names an action that exists and is not dropped."""
    try:
        action = action_path(cache, json.loads(note.read_text("utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return action not in dropped_actions and action.exists()


def parse_size(text: str) -> int:
    """Return the bytes of "20GB", "1.5 TB", "500mb" or "0"; a kilobyte is a thousand bytes.

    Raises UserError for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in UNITS:
        raise UserError(f"`{text}` is not a size: write a number of bytes, or 500MB, 20GB, 1.5TB.")
    return int(float(match[1]) * UNITS[match[2].upper()])


def size_text(size: int) -> str:
    """Return "3.1 GB" or "12 B"."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f} {unit}"
    return f"{size} B"
