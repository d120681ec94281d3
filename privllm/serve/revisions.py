"""Exports of other git revisions, from DVC's cache into `.privllm/arena/<commit>/export`.

Nothing is checked out and no remote is contacted. A revision is a branch, a tag, a commit or the
name of an experiment. No model is loaded here.
"""

import logging
import shutil
from pathlib import Path

from privllm.core.errors import UserError
from privllm.core.work_paths import ARENA_FOLDER

EXPORT = "data/export/causal"
EXPORT_FILES = ("model.safetensors", "config.json", "tokenizer.json", "provenance.json")


def fetch_export(name: str, root: Path = Path(), folder: Path = ARENA_FOLDER) -> tuple[str, Path]:
    """Return (commit, folder of the export) of the revision `name`.

    Raises UserError that says what is missing, and how to get it.
    """
    logging.getLogger("dvc").setLevel(logging.ERROR)
    commit = _resolve(name, root)
    out = folder / commit / "export"
    if _complete(out):
        return commit, out
    partial = out.with_name("partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        _copy_from_cache(commit, root, partial)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except Exception as error:  # errors of DVC, of its libraries and of the file system have no class in common
        raise UserError(
            f"revision `{name}` ({commit[:9]}) has no exported model in this machine's cache. If a remote has it: "
            f"`git checkout {commit[:9]}`, `dvc pull {EXPORT}`; otherwise build it there with `dvc repro`. "
            "Then come back."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return commit, out


def _resolve(name: str, root: Path) -> str:
    """Return the commit of the revision `name`. Raises UserError where there is none."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import RevError, resolve_rev

    try:
        with Repo(str(root)) as repo:
            return resolve_rev(repo.scm, name or "(nothing)")
    except NotDvcRepoError:
        raise UserError(f"{root.resolve()} is no DVC repository: run this from the root of the build.") from None
    except (RevError, ValueError) as error:
        raise UserError(
            f"git does not know a revision `{name}`: name a commit, a branch, a tag or an experiment (`dvc exp list`)."
        ) from error


def _copy_from_cache(commit: str, root: Path, target: Path) -> None:
    """Copy the export of `commit` to `target`. Raises FileNotFoundError where it is incomplete."""
    from dvc.repo import Repo

    # Without a remote: only a person may decide to download what this machine does not have.
    with Repo(str(root), rev=commit, config={"core": {"remote": ""}}) as repo:
        repo.dvcfs.get(EXPORT, str(target), recursive=True)
    if not _complete(target):
        raise FileNotFoundError(EXPORT)


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in EXPORT_FILES)
