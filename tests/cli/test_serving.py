"""The commands as they are typed, in a folder of their own."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.work_paths import PEOPLE_FILE
from privllm.serve.database import Database
from tests.workshop import ROOT, environment

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


@pytest.mark.parametrize(
    "words",
    ["token new eva", "token list", "token revoke eva", "arena a b"],
)
def test_nothing_is_made_in_another_folder(words: str, folder: Path) -> None:
    (folder / "dvc.yaml").unlink()
    done = RUNNER.invoke(app, words.split())
    assert done.exit_code == 1
    assert str(folder) in done.stderr
    assert "the repository" in done.stderr
    assert list(folder.iterdir()) == []


def test_tokens_of_a_server_that_runs_outside_a_build(folder: Path) -> None:
    """`privllm serve FOLDER` does, for any model, and has its database where it runs."""
    (folder / "dvc.yaml").unlink()
    Database()
    assert RUNNER.invoke(app, ["token", "new", "eva"]).exit_code == 0


def test_what_there_is_none_of_yet_is_said() -> None:
    assert "`privllm token new NAME` makes one" in RUNNER.invoke(app, ["token", "list"]).stdout


def test_tokens_are_made_shown_and_revoked() -> None:
    result = RUNNER.invoke(app, ["token", "new", "eva", "--requests-per-minute", "7"])
    token = result.stdout.splitlines()[0]
    assert token.startswith("privllm-")
    output = RUNNER.invoke(app, ["token", "list"]).stdout
    assert "eva" in output
    assert "7/min" in output
    assert token not in output
    assert RUNNER.invoke(app, ["token", "revoke", "eva"]).exit_code == 0
    assert "revoked 20" in RUNNER.invoke(app, ["token", "list"]).stdout
    assert RUNNER.invoke(app, ["token", "revoke", "eva"]).exit_code == 1


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "privllm.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(PYTHONPATH=str(ROOT)), timeout=60)


def test_it_listens_here_unless_there_are_tokens(exported: Callable[..., Path]) -> None:
    refused = RUNNER.invoke(app, ["serve", str(exported()), "--host", "0.0.0.0", "--port", "0"])
    assert refused.exit_code == 1
    assert "make one with `privllm token new NAME`" in refused.stderr


@pytest.mark.torch
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serve", "nowhere"], "nowhere is not there"),
        (["serve", "--engine", "ftp://x"], "--engine takes the address"),
        (["arena", "a", "b"], "is no DVC repository"),
    ],
)
def test_what_is_missing_is_explained(words: list[str], message: str) -> None:
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 1
    assert "\nerror: privllm" in done.stderr
    assert message in done.stderr


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privllm.cli.serving.find_spec", lambda name: None if name == "uvicorn" else name)
    done = RUNNER.invoke(app, ["serve"])
    assert "uvicorn is not installed here: pip install 'privllm[serve]'" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_it_is_and_stops_on_demand(
    exported: Callable[..., Path], folder: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "privllm.cli", "serve", str(exported()), "--port", "0"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(PYTHONPATH=str(ROOT))
    )
    assert server.stdout
    assert server.stderr
    assert server.stderr.readline() == f"loading {exported()} ...\n"
    url = server.stdout.readline().split()[0]
    assert url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{url}v1/models").json()["data"][0]["id"] == "handbook-1"
    assert "server" not in httpx.get(url).headers, "nobody need know what runs here"
    taken = RUNNER.invoke(app, ["serve", str(exported()), "--port", url.rsplit(":", 1)[1].strip("/")])
    assert taken.exit_code == 1
    assert "choose another with --port" in taken.stderr
    server.send_signal(number)
    _, message = server.communicate(timeout=20)
    assert (server.returncode, message) == (0, "")
    assert (folder / PEOPLE_FILE).is_file()


@pytest.mark.slow
def test_a_model_that_writes_nothing_is_served_without_a_page(exported_masked: Path) -> None:
    command = [sys.executable, "-m", "privllm.cli", "serve", str(exported_masked), "--port", "0"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(PYTHONPATH=str(ROOT))
    )
    assert server.stdout
    url, *said = server.stdout.readline().split(" ", 1)
    assert (url.endswith("/v1/embeddings"), said) == (True, ["  Ctrl-C stops\n"])
    made = httpx.post(url, json={"model": "reader-1", "input": "the page"}).raise_for_status().json()
    assert len(made["data"][0]["embedding"]) == 32
    server.send_signal(signal.SIGTERM)
    _, message = server.communicate(timeout=20)
    assert (server.returncode, message) == (0, f"loading {exported_masked} ...\n")
