"""What DVC refers to is found wherever it does: in the workspace, in any corner of git, in a running experiment."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from privllm.core.errors import UserError
from privllm.manage.dvc_references import exclusive, references
from tests.workshop import environment


class Repository:
    """A stage with one folder of one file as its output; `write(n)` makes dvc.lock say that the file's MD5 is `name(n)`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc/config").write_text(
            "[core]\n    analytics = false\n    remote = far\n['remote \"far\"']\n    url = /nowhere\n"
        )
        (root / ".dvc/.gitignore").write_text("/tmp\n/cache\n")
        (root / "dvc.yaml").write_text(
            yaml.safe_dump({"stages": {"made": {"cmd": "true", "outs": ["data"]}, "never": {"cmd": "no"}}})
        )
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@localhost")

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=environment(), capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, number: int) -> None:
        folder = f"{number:02d}" + "d" * 30 + ".dir"
        path = self.root / ".dvc/cache/files/md5" / folder[:2] / folder[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"md5": name(number), "relpath": "file"}]))
        path.chmod(0o444)
        out = {"path": "data", "hash": "md5", "md5": folder, "size": 1, "nfiles": 1}
        (self.root / "dvc.lock").write_text(
            yaml.safe_dump({"schema": "2.0", "stages": {"made": {"cmd": "true", "outs": [out]}}})
        )

    def commit(self, number: int) -> str:
        self.write(number)
        self.git("add", "-A")
        self.git("commit", "-qm", str(number))
        return self.git("rev-parse", "HEAD")


def name(number: int) -> str:
    return f"{number:02d}" + "f" * 30


def files(found: set[str]) -> set[int]:
    """The numbers of the files among some MD5s."""
    return {int(md5[:2]) for md5 in found if md5.endswith("f" * 30)}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def test_every_corner_of_git_counts(repository: Repository) -> None:
    base = repository.commit(1)
    repository.commit(2)
    repository.git("checkout", "-q", "-b", "side", base)
    repository.commit(3)
    repository.git("checkout", "-q", "--detach", base)
    repository.commit(4)
    repository.git("tag", "-a", "-m", "kept by a tag", "kept")
    repository.git("checkout", "-q", "--detach", base)
    tried = repository.commit(5)
    repository.git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/tried", tried)
    repository.git("checkout", "-q", "--detach", base)
    repository.commit(6)
    repository.git("checkout", "-q", "main")
    repository.write(7)
    assert files(references([repository.root], revisions=False)) == {7}
    assert files(references([repository.root], revisions=True)) == {1, 2, 3, 4, 5, 7}, (
        "what no name leads to is lost to git as well"
    )


def test_a_running_experiment_and_another_project_count(repository: Repository, tmp_path: Path) -> None:
    repository.commit(1)
    repository.write(2)
    running = repository.root / ".dvc/tmp/exps/standalone/tmp1"
    running.mkdir(parents=True)
    shutil.copytree(repository.root / ".dvc/cache", running / ".dvc/cache")
    shutil.copytree(repository.root / ".git", running / ".git")
    for file in ("dvc.yaml", "dvc.lock"):
        shutil.copyfile(repository.root / file, running / file)
    repository.write(1)
    assert files(references([repository.root], revisions=False)) == {1, 2}
    other = Repository(tmp_path / "other")
    other.write(3)
    assert files(references([repository.root, other.root], revisions=True)) == {1, 2, 3}


def test_what_cannot_be_told_stops_it(repository: Repository) -> None:
    repository.commit(1)
    (repository.root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(UserError, match="nothing was dropped"):
        references([repository.root], revisions=True)


def test_a_lost_list_is_not_looked_for_elsewhere(repository: Repository) -> None:
    repository.commit(1)
    repository.write(2)
    shutil.rmtree(repository.root / ".dvc/cache/files/md5/02")
    assert files(references([repository.root], revisions=True)) == {1}


def test_it_says_nothing(repository: Repository, capfd: pytest.CaptureFixture[str]) -> None:
    repository.commit(1)
    references([repository.root], revisions=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_dvc_and_it_do_not_meet(repository: Repository) -> None:
    repository.commit(1)
    with exclusive(repository.root), pytest.raises(UserError, match="DVC is running"), exclusive(repository.root):
        pass
