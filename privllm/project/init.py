"""`privllm init`: a folder that is a project, with DVC and git set up.

Nothing is overwritten: it starts in a folder that is missing or empty (`.git` may be there already).
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import which
from typing import NamedTuple

from privllm.core.errors import UserError
from privllm.core.seed import digest
from privllm.engine.digests import replacing
from privllm.project.template import PRISTINE, WHOLE, package_code, project_files, version

FOLDERS = ("data/sources",)  # that hold no file of ours
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
        yield f"  cd {self.folder}"
        yield "  cp -r /your/documents/* data/sources/"
        yield "  dvc add data/sources && dvc repro"


def create_project(folder: Path, use_git: bool = True) -> NewProject:
    """Write the files of a new project into `folder`, and with `use_git` make it a repository with a first commit.

    Raises UserError where the folder holds anything, lies in another project, or git is missing.
    """
    _require_empty(folder)
    _require_outside_projects(folder)
    if use_git and which("git") is None:
        raise UserError("git is not installed, and `dvc exp run` needs it: install it, or add --no-git.")
    files = project_files(folder.resolve().name)
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        _write(folder / path, content)
    _write(folder / PRISTINE, pristine_text(folder.resolve().name, files).encode())
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if use_git:
        _commit(folder)
    return NewProject(folder, len(files) + 1, use_git)


def pristine_text(name: str, files: Mapping[str, bytes]) -> str:
    """Return the content of PRISTINE: name, version and code, and the text of each file of the template.

    Of a file that is never merged it has the digest.
    """
    texts = {path: digest(content) if path in WHOLE else content.decode() for path, content in files.items()}
    record = {"name": name, "version": version("privllm"), "code": package_code(), "files": texts}
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(content)


def _require_empty(folder: Path) -> None:
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


def _commit(folder: Path) -> None:
    """Make a git repository with a first commit; raises UserError with git's own words where that fails."""
    if not (folder / ".git").exists():
        _git(folder, "init", "--quiet", "--initial-branch", "main")
    _git(folder, "add", "--all")
    identity = [] if _has_identity(folder) else ["-c", "user.name=privllm", "-c", "user.email=privllm@localhost"]
    _git(folder, *identity, "commit", "--quiet", "--message", "Start a project of privllm")


def _has_identity(folder: Path) -> bool:
    command = ["git", "-C", str(folder), "config", "user.email"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _git(folder: Path, *words: str) -> None:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        command = next(word for word in words if word in ("init", "add", "commit"))
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UserError(
            f"the files are in {folder}, but `git {command}` failed: {' '.join(reason)}. Fix that, and commit them yourself."
        )
