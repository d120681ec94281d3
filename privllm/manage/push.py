"""push: `dvc push`, and with it what a fresh clone needs in order to work on changed shards only.

Objects go first and actions last, so an action in the remote never names what was not yet sent. Only
what the remote lacks travels; stopped at any moment and run again, it goes on.
"""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import md5_of
from privllm.manage.dvc_references import references
from privllm.manage.remote import Remote, open_remote
from privllm.manage.travelling import belonging, is_known, needed_objects, read_local, travelling_stages


@dataclass
class Pushed:
    """Totals of what was sent."""

    url: str
    files: int = 0  # as `dvc push` counts them
    objects: int = 0  # that only shards need
    actions: int = 0  # of this build
    sent: int = 0  # of them
    others: int = 0  # actions of the present code in the store that do not belong to this build
    broken: int = 0  # actions of this build without all of their objects
    removed: int = 0  # from the remote
    missing: int = 0  # files of dvc.lock that are not in the cache

    def lines(self) -> list[str]:
        """Return the totals for a terminal."""
        lines = [
            f"outputs  {self.files:,} files sent to {self.url}, as `dvc push` does",
            f"objects  {self.objects:,} more sent, which only shards need",
            f"actions  {self.actions:,} of this build, {self.sent:,} of them sent; the others were there",
        ]
        if self.others:
            lines.append(f"stay     {self.others:,} actions of documents or parameters that this build does not have")
        if self.broken:
            lines.append(f"stay     {self.broken:,} actions without all of their objects in the cache")
        if self.missing:
            lines.append(f"missing  {self.missing:,} files of this build are not in the cache: `dvc status` names them")
        if self.removed:
            lines.append(f"removed  {self.removed:,} actions that this build does not use")
        return lines


def push(remote_name: str, jobs: int | None, prune: bool) -> Pushed:
    """Send the build of the workspace to a remote: outputs, objects of shards, actions.

    With `prune`, all other actions are removed from the remote, of whatever code. Raises UserError
    where the remote fails, or there is none.
    """
    with open_remote(remote_name, jobs) as remote:
        cache = find_cache(Path())
        assert cache
        result = Pushed(remote.url, remote.push_outputs())
        referenced = references([Path()], revisions=False)
        # DVC takes a folder for whole where its list is there, which is not so after a push that was killed.
        remote.forget_what_is_there()
        result.files += remote.push_objects(_files_here(cache, referenced))
        result.missing = len([name for name in referenced if not cache.path(name).is_file()])
        local = read_local(cache, travelling_stages().keys())
        of_build = [local[key] for key in sorted(belonging(local, referenced))]
        whole = [record for record in of_build if is_known(cache, record)]
        result.actions, result.broken = len(whole), len(of_build) - len(whole)
        result.others = len(local) - len(of_build)
        result.objects = remote.push_objects(needed_objects(whole).keys() - referenced)
        paths = {remote.action_path(record.code, record.key, md5_of(record.path)): record.path for record in whole}
        result.sent = _send(remote, paths, {record.code for record in whole})
        if prune:
            surplus = sorted(remote.actions().keys() - paths.keys())
            remote.each("remove", remote.remove, surplus)
            result.removed = len(surplus)
    return result


def _files_here(cache: Cache, names: Set[str]) -> set[str]:
    """Return those of the objects that are files, not lists of folders, and are in the cache."""
    return {name for name in names if not name.endswith(".dir") and cache.path(name).is_file()}


def _send(remote: Remote, paths: dict[str, Path], codes: Set[str]) -> int:
    """Write the actions {path in the remote: file here} that the remote lacks, or has cut short; return how many."""
    there: dict[str, int] = {}
    for code in sorted(codes):
        there |= remote.actions(code)
    lacking = [path for path in sorted(paths) if there.get(path) != paths[path].stat().st_size]
    remote.each("actions", lambda path: remote.send(paths[path], path), lacking)
    return len(lacking)
