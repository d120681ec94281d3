"""The commands `init` and `upgrade` (`privllm.cli.projects`) pass on what is typed; what they do is tested in tests/project."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app


def test_init_without_git_makes_no_repository(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", "--no-git", str(tmp_path / "handbook")])
    assert done.exit_code == 0, done.output
    assert "dvc add data/sources && dvc repro" in done.output
    assert (tmp_path / "handbook/dvc.yaml").is_file()
    assert not (tmp_path / "handbook/.git").exists()


def test_upgrade_says_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["upgrade", "--yes"])
    assert done.exit_code == 1
    assert "there is no dvc.yaml" in done.output
    assert list(tmp_path.iterdir()) == []
