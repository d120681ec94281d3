"""What each check of the project says where something is missing, and where nothing is."""

from pathlib import Path

import pytest

from privllm.manage.doctor.finding import State
from privllm.manage.doctor.project import (
    Remote,
    dvc_finding,
    git_finding,
    parameters_finding,
    plugin_of,
    project_finding,
    remote_finding,
    remotes_of,
    without_secrets,
)


def test_another_folder_than_a_build_s(tmp_path: Path) -> None:
    finding = project_finding(tmp_path)
    assert finding.state is State.warning
    assert f"dvc.yaml and params.yaml are not in {tmp_path}" in finding.value


def test_a_build_without_its_parameters(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    finding = project_finding(tmp_path)
    assert (finding.state, finding.command) == (State.missing, "git checkout HEAD -- params.yaml")
    (tmp_path / "params.yaml").touch()
    assert project_finding(tmp_path).state is State.ok


@pytest.mark.parametrize(
    ("git", "has_repository", "has_commit", "state", "command"),
    [
        (None, False, False, "missing", "apt install git"),
        ("/usr/bin/git", False, False, "missing", "git init"),
        ("/usr/bin/git", True, False, "warning", "git add -A"),
        ("/usr/bin/git", True, True, "ok", ""),
    ],
)
def test_git(git: str | None, has_repository: bool, has_commit: bool, state: str, command: str) -> None:
    finding = git_finding(git, has_repository, has_commit)
    assert finding.state == state
    assert finding.command.startswith(command)


def test_dvc(tmp_path: Path) -> None:
    own = str(tmp_path / "dvc")
    assert dvc_finding(None, own, tmp_path, True).state is State.missing
    not_on_path = dvc_finding("3.67.1", None, tmp_path, True)
    assert (not_on_path.state, not_on_path.command) == (State.warning, f"source {tmp_path}/activate")
    other = dvc_finding("3.67.1", "/usr/bin/dvc", tmp_path, True)
    assert (other.state, "of another Python" in other.value) == (State.warning, True)
    assert dvc_finding("3.67.1", own, tmp_path, False).command == "dvc init"
    assert dvc_finding("3.67.1", own, tmp_path, True).state is State.ok


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / ".dvc").mkdir()
    return tmp_path


def test_remotes_are_read_as_dvc_writes_them(root: Path) -> None:
    (root / ".dvc/config").write_text(
        "[core]\n    remote = store\n['remote \"store\"']\n    url = ../store\n['remote \"cloud\"']\n    url = s3://bucket/x\n"
    )
    store, cloud = remotes_of(root)
    assert store == Remote("store", "../store", root / ".dvc/../store", True)
    assert cloud == Remote("cloud", "s3://bucket/x", None, False)
    (root / ".dvc/config.local").write_text("[core]\n    remote = cloud\n")
    assert [remote.is_default for remote in remotes_of(root)] == [False, True]
    assert plugin_of(remotes_of(root)) == "dvc_s3"


@pytest.mark.parametrize("text", ["no section", "[core", "\x00"])
def test_a_broken_configuration_has_no_remotes(text: str, root: Path) -> None:
    (root / ".dvc/config").write_text(text)
    assert remotes_of(root) == []


def test_dvc_itself_writes_what_is_read(root: Path) -> None:
    import subprocess
    import sys

    dvc = [sys.executable, "-P", "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "--no-scm", "-f"], cwd=root, check=True)
    subprocess.run([*dvc, "remote", "add", "-q", "-d", "my store", str(root / "store")], cwd=root, check=True)
    (remote,) = remotes_of(root)
    assert (remote.name, remote.is_default) == ("my store", True)
    assert remote.folder is not None
    assert remote.folder.resolve() == root / "store"


def test_no_remote() -> None:
    finding = remote_finding([], "")
    assert finding.state is State.warning
    assert finding.command.startswith("dvc remote add --default")


def test_remotes_without_a_default() -> None:
    finding = remote_finding([Remote("store", "/x", Path("/x"), False)], "")
    assert (finding.state, finding.command) == (State.warning, "dvc remote default store")


def test_a_remote_in_a_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    finding = remote_finding([Remote("store", str(gone), gone, True)], "")
    assert (finding.state, finding.command) == (State.warning, f"mkdir -p {gone}")
    assert remote_finding([Remote("store", str(tmp_path), tmp_path, True)], "").state is State.ok


def test_a_remote_whose_plugin_is_missing() -> None:
    finding = remote_finding([Remote("cloud", "s3://bucket", None, True)], "dvc_s3")
    assert (finding.state, finding.command) == (State.warning, "pip install dvc-s3")
    reachable = remote_finding([Remote("cloud", "s3://bucket", None, True)], "")
    assert (reachable.state, reachable.value) == (State.ok, "cloud, s3://bucket (not contacted)")


def test_a_password_in_an_address_is_not_shown() -> None:
    assert without_secrets("https://eva:secret@host/x?sig=secret") == "https://host/x"
    assert without_secrets("/mnt/x@y") == "/mnt/x@y"


def test_parameters() -> None:
    finding = parameters_finding("params.yaml has 2 faults:\n  one\n  two")
    assert (finding.state, finding.command) == (State.missing, "privllm check")
    assert finding.value == "params.yaml has 2 faults"
    assert parameters_finding("").state is State.ok
