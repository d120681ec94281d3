"""`privllm init`: a folder that is a project, with DVC and git set up.

Nothing is overwritten: it starts in a folder that is missing or empty (`.git` may be there already).
"""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import NamedTuple

from privllm.core.errors import UserError
from privllm.core.printable import printable
from privllm.core.seed import digest
from privllm.engine.digests import replacing
from privllm.project.template import PRISTINE, WHOLE, package_code, package_version, project_files

FOLDERS = ("data/sources",)  # that hold no file of ours
UNFINISHED = "privllm-init-unfinished"  # there while the files are written, so that a killed `init` goes on
MAY_BE_THERE = {".git", ".venv"}


class NewProject(NamedTuple):
    """What `create_project` made."""

    folder: Path
    files: int
    committed: bool  # whether git has them

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal."""
        in_git = ", in git" if self.committed else ""
        yield f"{self.files} files in {self.folder}{in_git}. README.md there has the commands; the next ones:"
        yield f"  cd {shlex.quote(str(self.folder))}"
        yield "  cp -r /your/documents/* data/sources/"
        yield "  dvc add data/sources && dvc repro"


def create_project(folder: Path, use_git: bool = True) -> NewProject:
    """Write the files of a new project into `folder`, and with `use_git` make it a repository with a first commit.

    Raises UserError where the folder holds anything, lies in another project, or git is missing.
    """
    _require_name(folder)
    _require_empty(folder)
    _require_outside_projects(folder)
    if use_git and which("git") is None:
        raise UserError("git is not installed, and `dvc exp run` needs it: install it, or add --no-git.")
    files = project_files(folder.resolve().name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    for path, content in files.items():
        _write(folder / path, content)
    _write(folder / PRISTINE, pristine_text(folder.resolve().name, files).encode())
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).unlink()
    if use_git:
        _commit(folder, [*files, str(PRISTINE)])
    return NewProject(folder, len(files) + 1, use_git)


def pristine_text(name: str, files: Mapping[str, bytes]) -> str:
    """Return the content of PRISTINE: name, version and code, and the text of each file of the template.

    Of a file that is never merged it has the digest.
    """
    texts = {path: digest(content) if path in WHOLE else content.decode() for path, content in files.items()}
    record = {"name": name, "version": package_version(), "code": package_code(), "files": texts}
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(content)


def _require_name(folder: Path) -> None:
    """Raise UserError for a name that the project's files could not hold."""
    name = folder.resolve().name
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{printable(name)} is no name in UTF-8: name another folder, or set LC_ALL=C.UTF-8.") from None
    if not name.isprintable():
        raise UserError(f"{printable(name)} holds characters that cannot be printed: name another folder.")


def _require_empty(folder: Path) -> None:
    if (folder / UNFINISHED).is_file():  # of an `init` that was killed
        return
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder.")
    others = sorted({path.name for path in folder.iterdir()} - MAY_BE_THERE) if folder.is_dir() else []
    if others:
        examples = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise UserError(
            f"{folder} is not empty ({examples}), and nothing in it may be overwritten: name a new folder, or move these away."
        )


def _require_outside_projects(folder: Path) -> None:
    """Raise UserError where a folder above is a project: DVC would take both for one."""
    for parent in folder.resolve().parents:
        if (parent / ".dvc/config").is_file():
            raise UserError(f"{folder} lies in {parent}, which is a DVC repository already: name a folder outside it.")


def _commit(folder: Path, paths: Sequence[str]) -> None:
    """Make a git repository with a first commit of these files; raises UserError with git's own words where that fails.

    They are in it whatever the user's own list of ignored files says.
    """
    if not (folder / ".git").exists():
        _git(folder, "init", "--quiet", "--initial-branch", "main")
    _git(folder, "add", "--force", "--", *paths)
    identity = [] if _has_identity(folder) else ["-c", "user.name=privllm", "-c", "user.email=privllm@localhost"]
    _git(folder, *identity, "commit", "--quiet", "--message", "Start a project of privllm")


def _has_identity(folder: Path) -> bool:
    command = ["git", "-C", str(folder), "config", "user.email"]
    return subprocess.run(command, capture_output=True, check=False, env=_here_alone()).returncode == 0


def _here_alone() -> dict[str, str]:
    """Return the environment without what would lead git to another repository than the folder's, as in a hook."""
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
    return {name: value for name, value in os.environ.items() if name not in elsewhere}


def _git(folder: Path, *words: str) -> None:
    command_line = ["git", "-C", str(folder), *words]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False, env=_here_alone())
    if done.returncode:
        command = next(word for word in words if word in ("init", "add", "commit"))
        reason = " ".join((done.stderr or done.stdout).split())
        raise UserError(
            f"the files are in {folder}, but `git {command}` failed: {reason.rstrip('.')}. Fix that, then "
            f"`git -C {shlex.quote(str(folder))} commit -m 'Start a project'`."
        )
