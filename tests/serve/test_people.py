import multiprocessing
import os
import signal
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.serve.people import People, Taken
from tests.judge.cases import rating, vote


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path / "people.sqlite")


def test_the_file_is_private_and_durable(people: People, tmp_path: Path) -> None:
    assert (tmp_path / "people.sqlite").stat().st_mode & 0o777 == 0o600
    assert people._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert people._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_match_is_voted_on_once(people: People) -> None:
    people.vote(vote("1", "left"))
    with pytest.raises(Taken):
        people.vote(vote("1", "right"))
    people.vote(vote("2", "tie"))
    assert [v.choice for v in people.votes()] == ["left", "tie"]


def test_a_rating_changes_until_it_is_exported_then_gets_an_edition(people: People) -> None:
    assert people.rate(rating("1")) == 1
    assert people.rate(rating("1", correction="yes")) == 1
    with people.writing() as db:
        db.execute("UPDATE records SET exported = 1")
    assert people.rate(rating("1", correction="yes!")) == 2
    assert [(r.edition, r.correction) for r in people.ratings()] == [(2, "yes!")]
    with pytest.raises(Taken):
        people.rate(replace(rating("1"), rater="adam"))


def test_what_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "people.sqlite").write_text("no database at all, but long enough to have a header " * 20)
    with pytest.raises(UserError, match="move it away"):
        People(tmp_path / "people.sqlite")


def _vote_until_killed(file: Path, pipe) -> None:
    people = People(file)
    for i in range(100_000):
        people.vote(vote(str(i), "left"))
        pipe.send(i)


def test_kill_loses_no_vote_that_was_answered(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_vote_until_killed, args=(tmp_path / "p.sqlite", theirs))
    process.start()
    answered = [ours.recv() for _ in range(25)]
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while ours.poll():
        try:
            answered.append(ours.recv())
        except EOFError:
            break
    kept = [int(v.id) for v in People(tmp_path / "p.sqlite").votes()]
    assert kept[: len(answered)] == answered
    assert sqlite3.connect(tmp_path / "p.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)
