"""What DVC refers to: the objects that the workspace, a commit, a tag, a branch or an experiment may want back.

It asks DVC, as `dvc gc` does, so it sees what DVC sees: the entries of every directory too, and the working folders of experiments
that are running. The objects of a directory whose list is lost are unknown to DVC as well. Nothing is fetched from a remote.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privllm.core.errors import UserError

EVERYTHING = {"all_branches": True, "all_tags": True, "all_commits": True, "all_experiments": True}


def references(roots: list[Path], revisions: bool) -> set[str]:
    """MD5s that the workspaces of some repositories refer to, and their running experiments; with `revisions` all of git too.

    Raises UserError where DVC cannot read a revision: what it refers to would be unknown.
    """
    from dvc.exceptions import DvcException

    found: set[str] = set()
    for root in roots:
        try:
            found |= _used(root, EVERYTHING if revisions else {})
            for folder in _running(root):
                found |= _used(folder, {})
        except DvcException as error:
            raise UserError(f"what {root.resolve()} refers to cannot be told, so nothing was dropped: {error}.") from error
    return found


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Within it no DVC command of the repository at `root` writes down a result. Raises UserError where one is at it now."""
    from dvc.lock import LockError
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        try:
            repo.lock.lock()
        except LockError:
            raise UserError("DVC is at work here: wait until it has ended, and try again.") from None
        try:
            yield
        finally:
            repo.lock.unlock()


def _used(root: Path, revisions: dict[str, bool]) -> set[str]:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # it would warn of every stage that some revision had not built
    with Repo(str(root)) as repo:
        repo.config["core"].pop("remote", None)  # or DVC would ask it for lists of directories that are not here
        used = repo.used_objs(**revisions, force=True)
    return {info.value for infos in used.values() for info in infos if info.value}


def _running(root: Path) -> list[Path]:
    """The folders in which DVC runs experiments beside the workspace."""
    places = [*(root / ".dvc/tmp/exps").glob("*/dvc.yaml"), *(root / ".dvc/tmp/exps").glob("*/*/dvc.yaml")]
    return sorted(path.parent for path in places if (path.parent / ".dvc").is_dir())
