"""feedback forget: what was said is gone from database, files and outputs, and the proof fails where something is left."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from privllm.clean.clean_text import clean_text
from privllm.core.errors import UserError
from privllm.core.work_paths import FORGET_FEEDBACK_NOTE
from privllm.feedback.files import remove_lines
from privllm.feedback.recipe import FeedbackConfig, feedback
from privllm.feedback.wanted import Wanted
from privllm.manage import forget_feedback as module
from privllm.manage.forget import ForgetOptions
from privllm.manage.forget_feedback import forget_feedback
from privllm.serve.database import Database
from privllm.serve.feedback_export import export_feedback
from privllm.validate.personal_data_left import leftovers
from tests.feedback.said import no_check, rating, vote
from tests.workshop import Workshop, make_workshop

SECRET = "In the cellar of number nine behind the blue door the spare valve of the old boiler lies wrapped in felt"
SHARED = "How do I get the big pump of the second house to run again after a night of hard frost?"
OWN = "Where does the spare valve of the boiler lie when nobody of the house is there to tell me about it?"


def build(root: Path, removed: str = "") -> None:
    """The stage `feedback` in this process, as `dvc repro` would run it."""
    clean_folder = root / "data/feedback_clean"
    report = feedback(FeedbackConfig(held_out=0), root / "data/feedback", clean_folder, clean_text, leftovers, no_check)
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports/feedback.json").write_text(json.dumps(report))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stage = {"cmd": "true", "outs": ["data/feedback_clean"], "metrics": [{"reports/feedback.json": {"cache": False}}]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"feedback": stage}}))
    (tmp_path / "params.yaml").write_text("{}")
    (tmp_path / "data/sources").mkdir(parents=True)
    database = Database(tmp_path / ".privllm/people.sqlite")
    eva = rating("eva", OWN, "down", SECRET)
    for record in (eva, rating("eva", SHARED, "up"), rating("ada", SHARED, "down", "Thaw the pipe before it.")):
        database.rate(record)
    database.vote(vote("eva", SHARED, "left"))
    export_feedback(database, tmp_path / "data/feedback")
    database.rate(replace(eva, correction=f"{SECRET} now"))  # edition 2, not exported yet
    with (tmp_path / "data/feedback/ratings.jsonl").open("a") as file:
        file.write(f"{{no JSON, but {SECRET}\n")
    build(tmp_path)
    database.close()
    monkeypatch.setattr(module, "rebuild", build)
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(root: Path, said: list[str]) -> Callable[..., None]:
    def call(wanted: Wanted, **options: Any) -> None:
        database = Database(root / ".privllm/people.sqlite")
        try:
            forget_feedback(root, wanted, database, ForgetOptions(said.append, **options))
        finally:
            database.close()

    return call


def everything(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".parquet")


def test_a_person_is_forgotten_everywhere(root: Path, run: Callable[..., None], said: list[str]) -> None:
    assert b"spare valve" in everything(root)
    run(Wanted(rater="eva"))
    left = everything(root)
    assert b"eva" not in left
    assert left.count(b"spare valve") == 1  # the line that is no record, and nobody's
    assert b"Thaw the pipe" in left
    text = "\n".join(said)
    assert "To be forgotten: 3 ratings and votes; 3 in the database." in text
    assert "No trace of them was found." in text
    assert not (root / FORGET_FEEDBACK_NOTE).exists()
    with pytest.raises(UserError, match="holds such a rating or vote, so nothing was removed"):
        run(Wanted(rater="eva"))


def test_what_a_killed_export_has_left_is_forgotten_too(root: Path, run: Callable[..., None]) -> None:
    partial = root / "data/feedback/.ratings.jsonl.partial"
    partial.write_text(SECRET)
    run(Wanted(rater="eva"))
    assert not partial.exists()


def test_words_are_forgotten_with_every_edition_and_what_is_no_record(root: Path, run: Callable[..., None]) -> None:
    run(Wanted(text="wrapped in felt now"))  # of the second edition alone: the first goes too
    left = everything(root)
    assert left.count(b"wrapped in felt") == 1
    run(Wanted(text="wrapped in FELT"))
    left = everything(root)
    assert b"wrapped in felt" not in left
    assert b"eva" in left  # what else she said stays


def test_one_rating_is_forgotten_by_its_id(root: Path, run: Callable[..., None]) -> None:
    rows = [json.loads(line) for line in (root / "data/feedback_clean/sft.jsonl").read_text().splitlines()]
    key = next(row["id"] for row in rows if row["reply"].startswith("In the cellar"))
    run(Wanted(identifier=key))
    assert key.encode() not in everything(root)
    assert OWN.encode() not in everything(root)


def test_a_build_that_is_left_as_it_was_is_no_proof(
    run: Callable[..., None], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "rebuild", lambda root, removed: None)
    with pytest.raises(UserError, match="traces of what was said are left in data/feedback_clean"):
        run(Wanted(rater="eva"))
    assert any(line.startswith("FOUND in data/feedback_clean/raters.jsonl: 1 ids") for line in said)  # a pseudonym
    monkeypatch.setattr(module, "rebuild", build)
    run(Wanted(rater="eva"))  # the note says what to search for, though nothing else does
    assert said[-1].startswith("A model that was promoted before")
    assert "No such rating or vote is left; what was removed before is still to be proved." in said
    assert "To be proved: the absence of 3 records that an earlier call removed." in said


def test_words_alone_are_found_though_nothing_names_the_record(
    root: Path, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an answer to somebody else, in a report: cleaned, and within another text."""

    def careless(root: Path, removed: str) -> None:
        build(root)
        (root / "data/feedback_clean/quoted.jsonl").write_text(json.dumps({"text": f"somebody said: {SECRET}."}))

    monkeypatch.setattr(module, "rebuild", careless)
    remove_lines(root / "data/feedback", lambda plain, line: plain is None)  # which would explain it
    with pytest.raises(UserError, match=r"left in data/feedback_clean/quoted\.jsonl"):
        run(Wanted(rater="eva"))


def test_what_others_said_too_is_no_trace(root: Path, run: Callable[..., None], said: list[str]) -> None:
    run(Wanted(rater="ada"))
    assert "No trace of them was found." in said
    assert SHARED.encode() in everything(root)  # eva's question as well


def test_it_asks_first_and_can_be_put_off(root: Path, run: Callable[..., None], said: list[str]) -> None:
    before = everything(root)
    with pytest.raises(UserError, match="nothing was removed"):
        run(Wanted(rater="eva"), ask=lambda question: False)
    assert everything(root) == before
    run(Wanted(rater="eva"), repro=False)
    assert b"eva" not in (root / "data/feedback/ratings.jsonl").read_bytes()
    assert (root / FORGET_FEEDBACK_NOTE).is_file()
    assert b"spare valve" not in (root / FORGET_FEEDBACK_NOTE).read_bytes()
    assert "Nothing is rebuilt or proved yet" in said[-1]


def test_where_there_is_no_build_database_and_files_are_all(
    root: Path, run: Callable[..., None], said: list[str]
) -> None:
    (root / "dvc.yaml").unlink()
    run(Wanted(rater="eva"))
    assert said[-1] == "There is no build here, so nothing else holds them."
    assert b"eva" not in (root / ".privllm/people.sqlite").read_bytes()


def test_a_database_that_another_process_reads_is_no_proof(
    root: Path, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privllm.serve.database.WRITE_SECONDS", 0.2)
    reader = sqlite3.connect(root / ".privllm/people.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM records").fetchall()
    with pytest.raises(UserError, match="stop `privllm serve`"):
        run(Wanted(rater="eva"))
    reader.close()
    run(Wanted(rater="eva"))


PRIVLLM = ("python", "-m", "privllm.cli")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The real repository with the stage `feedback` alone, whose input the server's database was exported to."""
    shop = make_workshop(tmp_path_factory.mktemp("forget-feedback") / "repo", ("fingerprint", "feedback"))
    shop.set("feedback.held_out", 0)
    database = Database(shop.root / ".privllm/people.sqlite")
    for record in (rating("zenobia", OWN, "down", SECRET), rating("ada", SHARED, "down", "Thaw the pipe before it.")):
        database.rate(record)
    database.rate(
        rating("ada", f"{OWN} Or not?", "down", "Nobody knows, and the boiler is cold for all of the winter.")
    )
    database.vote(vote("zenobia", SHARED, "left"))
    database.close()
    shop.run(*PRIVLLM, "feedback", "export", "--dvc-add")
    assert "feedback" in shop.repro()
    shop.commit("first")
    return shop


def held(shop: Workshop, *places: str) -> bytes:
    paths = [path for place in places for path in (shop.root / place).rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in paths)


def test_a_person_is_forgotten_through_a_real_build(shop: Workshop) -> None:
    """dvc repro included: the stage runs, the .dvc files follow, the proof holds, and gc purges what old builds kept."""
    everywhere = "data/feedback", "data/feedback_clean", "reports", ".privllm"
    assert b"wrapped in felt" in held(shop, "data/feedback_clean")
    tracked = (shop.root / "data/feedback/ratings.jsonl.dvc").read_text()
    refused = shop.run(*PRIVLLM, "feedback", "forget", "--rater", "zenobia", check=False)
    assert (refused.returncode, "--yes" in refused.stderr) == (1, True)
    done = shop.run(*PRIVLLM, "feedback", "forget", "--rater", "zenobia", "--yes")
    assert "Running stage 'feedback'" in done.stdout
    assert "No trace of them was found." in done.stdout
    left = held(shop, *everywhere)
    assert b"wrapped in felt" not in left
    assert b"zenobia" not in left
    assert b"Thaw the pipe" in left
    assert (shop.root / "data/feedback/ratings.jsonl.dvc").read_text() != tracked
    assert shop.run("dvc", "status").stdout.startswith("Data and pipelines are up to date")
    assert b"wrapped in felt" in held(shop, ".dvc/cache")  # the first build still has it, as the command said
    assert "dvc gc" in done.stdout
    shop.run("dvc", "gc", "--workspace", "--force")
    assert b"wrapped in felt" not in held(shop, ".dvc/cache")


def test_one_that_was_put_off_is_built_and_proved_later(shop: Workshop) -> None:
    words = ("feedback", "forget", "--text", "the boiler is cold", "--yes")
    done = shop.run(*PRIVLLM, *words, "--no-repro")
    assert "Nothing is rebuilt or proved yet" in done.stdout
    assert b"the boiler is cold" in held(shop, "data/feedback_clean")
    assert b"the boiler is cold" not in held(shop, "data/feedback")
    done = shop.run(*PRIVLLM, *words)
    assert "Running stage 'feedback'" in done.stdout
    assert "No trace of them was found." in done.stdout
    assert b"the boiler is cold" not in held(shop, "data/feedback_clean", "data/feedback", ".privllm")
    again = shop.run(*PRIVLLM, *words, check=False)
    assert (again.returncode, "nothing was removed" in again.stderr) == (1, True)
