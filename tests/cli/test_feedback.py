"""The commands for what people said, as they are typed, in a folder of their own."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.cli.feedback import _agrees
from privllm.serve.database import Database
from tests.feedback.cases import rating, vote
from tests.workshop import ROOT, environment

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


@pytest.mark.parametrize("words", ["export", "ranking", "forget --rater eva"])
def test_nothing_is_made_in_another_folder(words: str, folder: Path) -> None:
    (folder / "dvc.yaml").unlink()
    done = RUNNER.invoke(app, ["feedback", *words.split()])
    assert done.exit_code == 1
    assert str(folder) in done.stderr
    assert list(folder.iterdir()) == []


def test_a_ranking_of_no_votes_says_how_to_get_some() -> None:
    assert "`privllm arena REV_A REV_B` collects them" in RUNNER.invoke(app, ["feedback", "ranking"]).stdout


def test_feedback_is_exported_counted_and_offered_to_dvc() -> None:
    database = Database()
    database.rate(rating("a"))
    database.vote(vote("1", "left"))
    first = RUNNER.invoke(app, ["feedback", "export"]).stdout
    files = "data/feedback/ratings.jsonl", "data/feedback/votes.jsonl"
    assert first == f"{files[0]}  1 new\n{files[1]}  1 new\nKeep them with the build: dvc add {files[0]} {files[1]}\n"
    assert "0 new" in RUNNER.invoke(app, ["feedback", "export"]).stdout
    output = RUNNER.invoke(app, ["feedback", "ranking"]).stdout
    assert output.splitlines()[0].strip() == "1 vote"
    assert "75%" in output


@pytest.mark.slow
def test_dvc_add_is_run_where_it_is_asked_for(folder: Path) -> None:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # its handler may hold a stream that an earlier test has closed
    Repo.init(str(folder), no_scm=True).close()
    Database().vote(vote("1", "left"))
    done = run("feedback", "export", "--dvc-add")
    assert done.returncode == 0, done.stderr
    assert (folder / "data/feedback/votes.jsonl.dvc").is_file()
    Database().vote(vote("2", "tie"))
    assert run("feedback", "export", "--dvc-add").returncode == 0
    assert len((folder / "data/feedback/votes.jsonl").read_bytes().splitlines()) == 2


@pytest.mark.slow
def test_a_dvc_add_that_fails_is_an_error_of_ours() -> None:
    """DVC ends with 255."""
    Database().vote(vote("1", "left"))
    done = run("feedback", "export", "--dvc-add")
    assert done.returncode == 1
    assert "`dvc add data/feedback/votes.jsonl` failed: see above" in done.stderr


@pytest.mark.parametrize(("answer", "agrees"), [("\n", True), ("y\n", True), ("no\n", False), ("", False)])
def test_a_question_is_answered(answer: str, agrees: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert _agrees("Run it?") is agrees


def test_what_was_taken_back_is_told_and_offered_to_dvc() -> None:
    database = Database()
    database.rate(rating("a"))
    RUNNER.invoke(app, ["feedback", "export"])
    database.withdraw("rating", "a", None)
    said = RUNNER.invoke(app, ["feedback", "export"]).stdout
    assert said.startswith("data/feedback/ratings.jsonl  1 taken back\n")
    assert said.endswith("dvc add data/feedback/ratings.jsonl\n")
    assert Path("data/feedback/ratings.jsonl").read_bytes() == b""


def test_a_person_is_forgotten_where_there_is_no_build(folder: Path) -> None:
    database = Database()
    database.rate(rating("a"))
    database.vote(vote("1", "left"))
    RUNNER.invoke(app, ["feedback", "export"])
    (folder / "dvc.yaml").unlink()
    refused = RUNNER.invoke(app, ["feedback", "forget", "--rater", "eva"])  # no terminal to ask at
    assert (refused.exit_code, len(database.lines())) == (1, 2)
    assert "--yes removes without asking" in refused.stderr
    done = RUNNER.invoke(app, ["feedback", "forget", "--rater", "eva", "--yes"])
    assert done.exit_code == 0, done.stderr
    assert "To be forgotten: 2 ratings and votes; 2 in the database." in done.stdout
    assert database.lines() == []
    again = RUNNER.invoke(app, ["feedback", "forget", "--rater", "eva", "--yes"])
    assert again.exit_code == 1
    assert "holds such a rating or vote" in again.stderr


@pytest.mark.parametrize("words", [[], ["--rater", "eva", "--id", "a"], ["--text", " \n "]])
def test_what_is_forgotten_is_named_in_one_way(words: list[str]) -> None:
    done = RUNNER.invoke(app, ["feedback", "forget", *words])
    assert done.exit_code == 1
    assert "one of --rater NAME, --id ID and --text WORDS" in " ".join(done.stderr.split())


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "privllm.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(PYTHONPATH=str(ROOT)), timeout=60)
