"""All checks together, in folders and environments where much is missing."""

from pathlib import Path

import pytest

from privllm.manage.doctor import report
from privllm.manage.doctor.finding import Finding, State
from privllm.manage.doctor.report import examine, verdict

PROBE = {"version": "2.13.0", "cuda": "", "gpus": [], "reason": ""}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(report.libraries, "probe_torch", lambda: PROBE)
    return tmp_path


def states() -> dict[str, State]:
    return {finding.check: finding.state for finding in examine()}


def test_outside_of_a_build_only_the_installation_is_checked() -> None:
    found = states()
    assert found["project"] is State.warning
    assert {"git", "DVC", "DVC remote", "parameters", "cache links"} & set(found) == set()
    assert {"Python", "torch", "GPU", "disk"} <= set(found)


def test_a_build_without_git_and_dvc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text("{}\n")
    monkeypatch.setenv("PATH", str(folder))
    found = states()
    assert found["git"] is State.missing
    assert found["DVC"] is State.warning
    assert found["DVC remote"] is State.warning


def test_broken_parameters_are_one_finding(folder: Path) -> None:
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text("annotate: [\n")
    assert states()["spaCy models"] is State.ok
    (folder / "params.yaml").write_text("annotate: 7\nexecutor: {address: 7}\n")
    assert states()["Ray"] is not State.missing


def test_a_model_and_an_address_are_those_of_params_yaml(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "params.yaml").write_text(
        "annotate: {models: [no_such_model, data/base/none]}\nexecutor: {address: 'host:1'}\n"
    )
    monkeypatch.setattr(report.libraries, "is_installed", lambda name: name == "fastapi")
    found = {finding.check: finding for finding in examine()}
    assert found["spaCy models"].value == "no_such_model, data/base/none are not there"
    assert found["Ray"].value == "not installed, and executor.address is host:1"
    assert found["web server"].value.startswith("httpx, uvicorn is not installed")


def test_libraries_of_another_version_are_missing(folder: Path) -> None:
    (folder / "requirements.lock").write_text("numpy==0.1\ntorch==2.13.0\n")
    found = {finding.check: finding for finding in examine()}
    assert found["libraries"].state is State.missing
    assert "numpy is " in found["libraries"].value


def test_a_cache_on_another_disk_has_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".dvc").mkdir()
    assert "cache disk" not in states()
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == folder.stat().st_dev:
        pytest.skip("this machine has no second file system")
    (folder / ".dvc/config").write_text(f"[cache]\n    dir = {shared}/privllm-doctor\n    type = hardlink\n")
    found = states()
    assert "cache disk" in found
    assert found["cache links"] is State.warning


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("half a machine")

    monkeypatch.setattr(report.shutil, "disk_usage", broken)
    found = {finding.check: finding for finding in examine()}
    assert found["disk"].state is State.warning
    assert "ZeroDivisionError: half a machine" in found["disk"].value
    assert "project" in found


def test_nothing_is_left_behind(folder: Path) -> None:
    (folder / ".dvc").mkdir()
    before = sorted(folder.rglob("*"))
    states()
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["ok"], "All is well."),
        (["ok", "warning"], "1 warning: nothing that is needed is missing."),
        (["missing", "warning", "warning"], "1 missing and 2 warnings: run the commands above."),
    ],
)
def test_the_verdict(given: list[str], sentence: str) -> None:
    assert verdict([Finding("x", State(state), "") for state in given]) == sentence
