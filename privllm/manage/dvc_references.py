"""Objects that DVC refers to from the workspace, a commit, a tag, a branch or an experiment.

DVC itself is asked, as `dvc gc` does: it sees the entries of every directory too, and the working folders
of running experiments. The objects of a directory whose list is lost are unknown to DVC as well. Nothing
is fetched from a remote.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privllm.core.errors import UserError

EVERYTHING = {"all_branches": True, "all_tags": True, "all_commits": True, "all_experiments": True}


def references(roots: list[Path], revisions: bool) -> set[str]:
    """Return the MD5s that the workspaces of some repositories, and their running experiments, refer to.

    revisions: also what any revision in git refers to. Raises UserError where DVC cannot read a revision,
    because its references would be unknown.
    """
    from dvc.exceptions import DvcException

    md5s: set[str] = set()
    for root in roots:
        try:
            md5s |= _used(root, EVERYTHING if revisions else {})
            for folder in _running(root):
                md5s |= _used(folder, {})
        except DvcException as error:
            message = f"the references of {root.resolve()} cannot be read, so nothing was dropped: {error}."
            raise UserError(message) from error
    return md5s


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold DVC's lock of the repository at `root`, so that no DVC command records a result meanwhile.

    Raises UserError where a DVC command is running.
    """
    from dvc.lock import LockError
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        try:
            repo.lock.lock()
        except LockError:
            raise UserError("DVC is running here: wait until it has ended, and try again.") from None
        try:
            yield
        finally:
            repo.lock.unlock()


def _used(root: Path, revisions: dict[str, bool]) -> set[str]:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # or it would warn of every stage that a revision did not build
    with Repo(str(root)) as repo:
        repo.config["core"].pop("remote", None)  # or DVC would ask it for missing directory lists
        used = repo.used_objs(**revisions, force=True)
    infos = set().union(*used.values())
    return {info.value for info in infos if info.value}


def _running(root: Path) -> list[Path]:
    """Return the folders in which DVC runs experiments beside the workspace."""
    experiments = root / ".dvc/tmp/exps"
    pipelines = [*experiments.glob("*/dvc.yaml"), *experiments.glob("*/*/dvc.yaml")]
    return sorted(path.parent for path in pipelines if (path.parent / ".dvc").is_dir())
