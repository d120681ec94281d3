import multiprocessing
import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.serve.database import People, Taken, Token
from tests.feedback.cases import rating, vote


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


@pytest.mark.parametrize("place", ["a folder", "below a file"])
def test_what_cannot_be_opened_is_explained(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used"):
        People(tmp_path / ("folder" if place == "a folder" else "file/people.sqlite"))


def test_who_reads_does_not_wait_for_who_writes(people: People, tmp_path: Path) -> None:
    """Every call asks for tokens, in the thread that serves everybody: a slow export in another process would stop the server."""
    people.vote(vote("1", "left"))
    people.add_token(Token("eva", b"x", "now", "", 1, 1))
    other = sqlite3.connect(tmp_path / "people.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(people.vote, vote("2", "right"))
        reading = pool.submit(lambda: (people.tokens(), people.votes(), people.ratings()))
        try:
            tokens, votes, ratings = reading.result(timeout=20)
            assert not waiting.done()
        finally:
            other.execute("ROLLBACK")
        waiting.result(timeout=20)
    assert ([token.name for token in tokens], [one.id for one in votes], ratings) == (["eva"], ["1"], [])
    assert [one.id for one in people.votes()] == ["1", "2"]


def test_what_is_written_is_read_at_once_by_whoever_has_the_file_open(people: People, tmp_path: Path) -> None:
    other = People(tmp_path / "people.sqlite")
    assert other.tokens() == []
    people.add_token(Token("eva", b"x", "2026-01-02", "", 1, 1))
    other.add_token(Token("adam", b"y", "2026-01-01", "", 2, 3))
    assert people.tokens() == other.tokens() == [Token("adam", b"y", "2026-01-01", "", 2, 3), Token("eva", b"x", "2026-01-02", "", 1, 1)]
    assert people.revoke("eva", "then")
    assert not other.revoke("eva", "later")
    assert not other.revoke("nobody", "later")
    assert [token.revoked for token in other.tokens()] == ["", "then"]


@pytest.mark.parametrize("token", [Token("eva", b"other", "now", "", 1, 1), Token("other", b"x", "now", "", 1, 1)])
def test_a_name_and_a_token_are_given_once(people: People, token: Token) -> None:
    people.add_token(Token("eva", b"x", "now", "", 1, 1))
    people.revoke("eva", "then")
    with pytest.raises(Taken):
        people.add_token(token)
    assert len(people.tokens()) == 1


def test_a_write_that_fails_leaves_nothing(people: People) -> None:
    def fail() -> None:
        with people.writing() as db:
            db.execute("INSERT INTO records VALUES ('vote', 'x', 1, '{}', 0)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert people.votes() == []
    people.vote(vote("1", "left"))
    assert [one.id for one in people.votes()] == ["1"]


def test_a_closed_file_is_closed(people: People) -> None:
    people.close()
    for act in (people.tokens, lambda: people.vote(vote("1", "left"))):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            act()


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
