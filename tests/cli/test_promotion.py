"""releases: commands that promote and list say what is missing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app


@pytest.fixture(autouse=True)
def _in_a_folder_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


def test_no_models_yet() -> None:
    assert "No model has been promoted yet" in CliRunner().invoke(app, ["models"]).stdout
    assert CliRunner().invoke(app, ["models", "--json"]).stdout.strip() == "[]"


def test_promote_needs_a_commit() -> None:
    result = CliRunner().invoke(app, ["promote"])
    assert (result.exit_code, "git has no commit here" in result.output) == (1, True)
    assert CliRunner().invoke(app, ["promote", "tiny"]).exit_code == 2


@pytest.mark.parametrize("words", [["models"], ["trace", "x"], ["forget", "x", "--yes"]])
def test_in_another_folder_it_says_where_to_go(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").unlink()
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, "run this from the root of the repository" in result.output) == (1, True)
