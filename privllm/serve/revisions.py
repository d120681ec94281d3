"""Exports of other git revisions, fetched through DVC from this repository's cache into `.privllm/arena/<commit>/export`.

Nothing is checked out and no remote is asked. A branch, a tag, a commit or the name of an experiment names a revision. It loads no
model.
"""

import logging
import shutil
from pathlib import Path

from privllm.core.errors import UserError
from privllm.core.work_paths import ARENA_FOLDER

EXPORT = "data/export/causal"
WHOLE = ("model.safetensors", "config.json", "tokenizer.json", "provenance.json")


def fetch_export(name: str, root: Path = Path(), folder: Path = ARENA_FOLDER) -> tuple[str, Path]:
    """(commit, the export's folder) of the revision `name`. Raises UserError that says what is missing, and how to get it."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import RevError, resolve_rev

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo(str(root)) as here:
            commit = resolve_rev(here.scm, name or "(nothing)")
    except NotDvcRepoError:
        raise UserError(f"{root.resolve()} is no DVC repository: run this from the root of the build.") from None
    except (RevError, ValueError) as error:
        raise UserError(f"git knows no revision `{name}`: take a commit, a branch, a tag or an experiment (`dvc exp list`).") from error
    out = folder / commit / "export"
    if _whole(out):
        return commit, out
    partial = out.with_name("partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        # The remote is left out: what this machine does not have is asked for by a person, not by us.
        with Repo(str(root), rev=commit, config={"core": {"remote": ""}}) as there:
            there.dvcfs.get(EXPORT, str(partial), recursive=True)
        if not _whole(partial):
            raise FileNotFoundError(EXPORT)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except Exception as error:  # DVC's, its libraries' and the file system's have no class in common
        raise UserError(
            f"revision `{name}` ({commit[:9]}) has no exported model in this machine's cache. If a remote has it: "
            f"`git checkout {commit[:9]}`, `dvc pull {EXPORT}`; otherwise build it there with `dvc repro`. Then come back."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return commit, out


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in WHOLE)
