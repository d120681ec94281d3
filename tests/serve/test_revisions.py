import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.serve.revisions import fetch_export


@pytest.fixture(scope="module")
def repository(exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits with exports, `first` and `second`, and one without."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # its handler may hold a stream that an earlier test has closed
    root = tmp_path_factory.mktemp("repository")
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.email", "a@b")
    git(root, "config", "user.name", "a")
    git(root, "commit", "-q", "--allow-empty", "-m", "nothing")
    with Repo.init(str(root)) as repo:
        for seed, tag in ((1, "first"), (2, "second")):
            shutil.copytree(exported(seed=seed), root / "data/export/causal", dirs_exist_ok=True)
            repo.add(str(root / "data/export/causal"))
            git(root, "add", "-A")
            git(root, "commit", "-q", "-m", tag)
            git(root, "tag", tag)
    return root


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def test_each_revision_gets_its_own_export_and_nothing_else_moves(
    repository: Path, exported: Callable[..., Path], tmp_path: Path
) -> None:
    for name, seed in (("first", 1), ("main", 2)):
        commit, folder = fetch_export(name, repository, tmp_path)
        assert commit == git(repository, "rev-parse", name)
        assert folder == tmp_path / commit / "export"
        for path in exported(seed=seed).iterdir():
            assert (folder / path.name).read_bytes() == path.read_bytes()
    assert git(repository, "status", "--porcelain") == ""
    assert fetch_export("first", repository, tmp_path)[1].is_dir()


@pytest.mark.parametrize("name", ["nowhere", "--output=x", "", "first..main"])
def test_an_unknown_revision_is_named(name: str, repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="git does not know a revision"):
        fetch_export(name, repository, tmp_path)


def test_what_is_missing_is_said_with_what_to_do(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        fetch_export("first~1", repository, tmp_path / "a")
    copy = tmp_path / "copy"
    shutil.copytree(repository, copy)
    (copy / ".dvc/cache").rename(tmp_path / "remote")  # a remote that has everything is not asked either
    (copy / ".dvc/config").write_text(
        f"[core]\n    remote = there\n['remote \"there\"']\n    url = {tmp_path / 'remote'}\n"
    )
    git(copy, "commit", "-q", "-am", "a remote")
    with pytest.raises(UserError, match=r"`main` \(\w{9}\) has no exported model in this machine's cache"):
        fetch_export("main", copy, tmp_path / "b")
    assert not list((tmp_path / "b").rglob("*.*"))
    with pytest.raises(UserError, match="no DVC repository"):
        fetch_export("first", tmp_path, tmp_path / "c")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json", "provenance.json"])
def test_half_of_an_export_is_fetched_anew(repository: Path, tmp_path: Path, missing: str) -> None:
    _, folder = fetch_export("first", repository, tmp_path)
    (folder / missing).unlink()
    (folder / "stray").touch()
    assert fetch_export("first", repository, tmp_path)[1] == folder
    assert (folder / missing).is_file()
    assert not (folder / "stray").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


def test_what_was_fetched_is_not_fetched_again(repository: Path, tmp_path: Path) -> None:
    commit, folder = fetch_export("first", repository, tmp_path)
    (folder / "mark").touch()
    assert fetch_export(commit[:10], repository, tmp_path) == (commit, folder)
    assert (folder / "mark").exists()


def test_what_was_left_by_a_killed_fetch_is_no_hindrance(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "first")
    (tmp_path / commit / "partial").mkdir(parents=True)
    (tmp_path / commit / "partial/model.safetensors").write_text("half")
    _, folder = fetch_export("first", repository, tmp_path)
    assert (folder / "model.safetensors").stat().st_size > 4
    assert [path.name for path in folder.parent.iterdir()] == ["export"]
