"""`privllm init` makes a project that DVC and git know, and overwrites nothing."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.project import init
from privllm.project.init import create_project
from privllm.project.template import PRISTINE, WHOLE


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_project_is_committed_whole(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(tmp_path / "handbook")])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "handbook"
    assert f"  cd {folder}" in done.output
    assert git(folder, "status", "--porcelain") == ""
    in_git = set(git(folder, "ls-files").split())
    assert {
        "dvc.yaml",
        "stages/collect.py",
        ".dvc/config",
        ".gitignore",
        str(PRISTINE),
        "extensions/README.md",
    } <= in_git
    assert ".dvc/plots.html" in in_git
    assert (folder / "data/sources").is_dir()
    assert git(folder, "log", "--format=%s") == "Start a project of privllm\n"


def test_pristine_texts_are_kept_for_an_upgrade(tmp_path: Path) -> None:
    create_project(tmp_path / "x", use_git=False)
    kept = json.loads((tmp_path / "x" / PRISTINE).read_text("utf-8"))["files"]
    for path, text in kept.items():
        if path not in WHOLE:
            assert (tmp_path / "x" / path).read_text("utf-8") == text
    assert kept.keys() >= WHOLE
    assert not (tmp_path / "x/.git").exists()


def test_an_existing_git_repository_is_used(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    create_project(tmp_path)
    assert git(tmp_path, "branch", "--show-current") == "trunk\n"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty \(thesis.txt\)"):
        create_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        create_project(tmp_path / "thesis.txt")


def test_a_project_in_a_project_is_refused(tmp_path: Path) -> None:
    create_project(tmp_path / "outer", use_git=False)
    with pytest.raises(UserError, match="is a DVC repository already"):
        create_project(tmp_path / "outer/data/inner")


def test_without_git_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privllm.project.init.which", lambda _: None)
    with pytest.raises(UserError, match="--no-git"):
        create_project(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_commit_that_git_refuses_is_said(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/hooks/pre-commit").write_text("#!/bin/sh\necho no today >&2\nexit 1\n")
    (tmp_path / ".git/hooks/pre-commit").chmod(0o755)
    with pytest.raises(UserError, match="`git commit` failed: no today"):
        create_project(tmp_path)
    assert (tmp_path / "dvc.yaml").is_file()


def test_the_users_own_list_of_ignored_files_leaves_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ignored").write_text("*.lock\n*.yaml\ndata/\n")
    (tmp_path / "config").write_text(f"[core]\n  excludesfile = {tmp_path / 'ignored'}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    create_project(tmp_path / "x")
    assert {"dvc.yaml", "requirements.lock", "data/promoted/weak_spots.json"} <= set(
        git(tmp_path / "x", "ls-files").split()
    )


def test_an_init_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    write = init._write
    written: list[Path] = []

    def dying(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 5:
            die()
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(init, "_write", dying)
        with pytest.raises(KeyboardInterrupt):
            create_project(tmp_path / "x")
    assert not (tmp_path / "x/params.yaml").exists()
    create_project(tmp_path / "x")
    assert git(tmp_path / "x", "status", "--porcelain") == ""
    assert not (tmp_path / "x" / init.UNFINISHED).exists()
    with pytest.raises(UserError, match="is not empty"):
        create_project(tmp_path / "x")


def test_another_repository_that_git_is_pointed_at_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is within a hook."""
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    create_project(tmp_path / "x")
    monkeypatch.delenv("GIT_DIR")
    assert git(tmp_path / "other", "status", "--porcelain") == ""
    assert git(tmp_path / "x", "log", "--format=%s") == "Start a project of privllm\n"


@pytest.mark.parametrize("name", [b"bad\xffname", b"two\nlines"])
def test_a_name_that_no_file_can_hold_is_refused(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(UserError, match="name another folder"):
        create_project(tmp_path / os.fsdecode(name))
    assert list(tmp_path.iterdir()) == []


def test_the_next_commands_can_be_pasted(tmp_path: Path) -> None:
    made = create_project(tmp_path / "my folder", use_git=False)
    assert f"  cd '{tmp_path / 'my folder'}'" in list(made.lines())
