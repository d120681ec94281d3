"""The command line explains itself, starts quickly, and ends in words."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docs.tables import all_commands
from privllm.cli.app import app
from privllm.core.installed_version import installed_version

RUNNER = CliRunner()


def test_help_teaches_every_command() -> None:
    for words, function in all_commands():
        result = RUNNER.invoke(app, [*words, "--help"])
        assert result.exit_code == 0
        assert (function.__doc__ or "missing").split(".")[0].split("\n")[0][:30] in result.output


def test_the_version_is_shown() -> None:
    done = RUNNER.invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"privllm {installed_version()}\n")


def test_completion_is_offered() -> None:
    assert "--install-completion" in RUNNER.invoke(app, ["--help"]).output


@pytest.mark.torch
def test_a_missing_model_is_explained(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "privllm.cli", "chat", str(tmp_path)], capture_output=True, text=True, input=""
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr


def test_demo_leaves_other_documents_alone(tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("words")
    done = subprocess.run(
        [sys.executable, "-m", "privllm.cli", "demo", "--sources", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "mine.txt" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert RUNNER.invoke(app, ["demo", "--when-empty", "--sources", str(tmp_path)]).exit_code == 0


def test_the_demo_is_made_nowhere_but_in_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUNNER.invoke(app, ["demo"])
    assert (done.exit_code, "run this from the root of the repository" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
