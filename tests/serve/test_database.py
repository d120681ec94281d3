import multiprocessing
import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.serve.database import AccessToken, AlreadyExists, Database, DatabaseUnwritable
from tests.feedback.cases import rating, vote


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "people.sqlite")


def test_the_file_is_private_and_durable(database: Database, tmp_path: Path) -> None:
    assert (tmp_path / "people.sqlite").stat().st_mode & 0o777 == 0o600
    assert database._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_match_is_voted_on_once(database: Database) -> None:
    database.vote(vote("1", "left"))
    with pytest.raises(AlreadyExists):
        database.vote(vote("1", "right"))
    database.vote(vote("2", "tie"))
    assert [v.choice for v in database.votes()] == ["left", "tie"]


def test_a_rating_changes_until_it_is_exported_then_gets_an_edition(database: Database) -> None:
    assert database.rate(rating("1")) == 1
    assert database.rate(rating("1", correction="yes")) == 1
    with database.writing() as db:
        db.execute("UPDATE records SET exported = 1")
    assert database.rate(rating("1", correction="yes!")) == 2
    assert [(r.edition, r.correction) for r in database.ratings()] == [(2, "yes!")]
    with pytest.raises(AlreadyExists):
        database.rate(replace(rating("1"), rater="adam"))


def test_what_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "people.sqlite").write_text("no database at all, but long enough to have a header " * 20)
    with pytest.raises(UserError, match="move it away"):
        Database(tmp_path / "people.sqlite")


@pytest.mark.parametrize("place", ["a folder", "below a file"])
def test_what_cannot_be_opened_is_explained(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used"):
        Database(tmp_path / ("folder" if place == "a folder" else "file/people.sqlite"))


def test_who_reads_does_not_wait_for_who_writes(database: Database, tmp_path: Path) -> None:
    """Every call asks for tokens, in the thread that serves everybody: a slow export in another process would stop the server."""
    database.vote(vote("1", "left"))
    database.add_token(AccessToken("eva", b"x", "now", "", 1, 1))
    second = sqlite3.connect(tmp_path / "people.sqlite", isolation_level=None)
    second.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(database.vote, vote("2", "right"))
        reading = pool.submit(lambda: (database.tokens(), database.votes(), database.ratings()))
        try:
            tokens, votes, ratings = reading.result(timeout=20)
            assert not waiting.done()
        finally:
            second.execute("ROLLBACK")
        waiting.result(timeout=20)
    assert ([token.name for token in tokens], [one.id for one in votes], ratings) == (["eva"], ["1"], [])
    assert [one.id for one in database.votes()] == ["1", "2"]


def test_what_is_written_is_read_at_once_by_whoever_has_the_file_open(database: Database, tmp_path: Path) -> None:
    second = Database(tmp_path / "people.sqlite")
    assert second.tokens() == []
    database.add_token(AccessToken("eva", b"x", "2026-01-02", "", 1, 1))
    second.add_token(AccessToken("adam", b"y", "2026-01-01", "", 2, 3))
    assert (
        database.tokens()
        == second.tokens()
        == [AccessToken("adam", b"y", "2026-01-01", "", 2, 3), AccessToken("eva", b"x", "2026-01-02", "", 1, 1)]
    )
    assert database.revoke("eva", "then")
    assert not second.revoke("eva", "later")
    assert not second.revoke("nobody", "later")
    assert [token.revoked for token in second.tokens()] == ["", "then"]


@pytest.mark.parametrize(
    "token", [AccessToken("eva", b"other", "now", "", 1, 1), AccessToken("other", b"x", "now", "", 1, 1)]
)
def test_a_name_and_a_token_are_given_once(database: Database, token: AccessToken) -> None:
    database.add_token(AccessToken("eva", b"x", "now", "", 1, 1))
    database.revoke("eva", "then")
    with pytest.raises(AlreadyExists):
        database.add_token(token)
    assert len(database.tokens()) == 1


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.writing() as db:
            db.execute("INSERT INTO records VALUES ('vote', 'x', 1, '{}', 0)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert database.votes() == []
    database.vote(vote("1", "left"))
    assert [one.id for one in database.votes()] == ["1"]


def test_a_full_disk_is_told_and_later_ones_are_taken(database: Database) -> None:
    database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    [[pages]] = database._db.execute("PRAGMA page_count")
    database._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DatabaseUnwritable, match="disk of the database is full"):
        database.rate(rating("1", correction="x" * 100_000))
    database._db.execute("PRAGMA max_page_count = 1000000")
    assert database.rate(rating("1", correction="x")) == 1
    assert [record.correction for record in database.ratings()] == ["x"]


def test_a_closed_file_is_closed(database: Database) -> None:
    database.close()
    for act in (database.tokens, lambda: database.vote(vote("1", "left"))):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            act()


def _vote_until_killed(file: Path, pipe) -> None:
    database = Database(file)
    for i in range(100_000):
        database.vote(vote(str(i), "left"))
        pipe.send(i)


def test_kill_loses_no_vote_that_was_answered(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_vote_until_killed, args=(tmp_path / "p.sqlite", theirs)
    )
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
    kept = [int(v.id) for v in Database(tmp_path / "p.sqlite").votes()]
    assert kept[: len(answered)] == answered
    assert sqlite3.connect(tmp_path / "p.sqlite").execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("exported", [False, True])
def test_what_is_taken_back_leaves_no_byte_behind(exported: bool, database: Database) -> None:
    database.rate(rating("one", correction="the secret words of eva"))
    database.rate(rating("other", correction="what stays"))
    database.vote(vote("1", "left"))
    if exported:
        with database.writing() as db:
            db.execute("UPDATE records SET exported = 1")
    assert not database.withdraw("rating", "one", "adam")  # somebody else's
    assert not database.withdraw("vote", "one", None)
    assert database.withdraw("rating", "one", "eva")
    assert not database.withdraw("rating", "one", "eva")
    assert [kept.id for kept in database.ratings()] == ["other"]
    rows = database._db.execute("SELECT kind, id FROM withdrawn").fetchall()
    assert rows == [("rating", "one")], "an export that was killed may have written it"
    assert not database.holds(["the secret words"]), "in the log of earlier states"
    assert database.forget(lambda plain, line: plain["id"] == "1") == 1
    assert database.holds(["what stays"])
    assert len(database.lines()) == 1


def test_what_is_forgotten_is_not_kept_for_an_export_either(database: Database) -> None:
    database.rate(rating("one"))
    with database.writing() as db:
        db.execute("UPDATE records SET exported = 1")
        db.execute("INSERT INTO withdrawn VALUES ('rating', 'one')")
    assert database.forget(lambda plain, line: True) == 1
    assert database._db.execute("SELECT * FROM withdrawn").fetchall() == []


def test_a_log_that_is_being_read_is_told_as_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privllm.serve.database.WRITE_SECONDS", 0.2)
    database = Database(tmp_path / "people.sqlite")
    database.rate(rating("one", correction="the secret words of eva"))
    reader = sqlite3.connect(tmp_path / "people.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM records").fetchall()
    database.forget(lambda plain, line: True)
    assert database.holds(["the secret words"])
    reader.close()
    database.forget(lambda plain, line: True)
    assert not database.holds(["the secret words"])
