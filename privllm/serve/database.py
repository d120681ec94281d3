"""SQLite database of access tokens, ratings and votes, in `.privllm/people.sqlite`.

It uses a write-ahead log and synchronises every commit to the disk, so that what a client was told
is stored survives `kill -9`. Only ratings and votes are stored, with the messages they are about;
other chats never are. What is taken back is overwritten, and its id is kept until the
next export has taken it out of the files too. Who may write is decided in `auth`, and `feedback_export` exports.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.work_paths import PEOPLE_FILE
from privllm.feedback.records import Rating, Vote, from_plain, to_line

# Seconds to wait for another process. A reader waits only for one that locks the whole file, which ours do not.
WRITE_SECONDS, READ_SECONDS = 10.0, 2.0
PRIMARY_CODE = 0xFF  # mask: SQLite's extended codes have more in their upper bits
SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    name TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created TEXT NOT NULL, revoked TEXT NOT NULL DEFAULT '',
    requests_per_minute INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, edition INTEGER NOT NULL, record TEXT NOT NULL,
    exported INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
) STRICT;
CREATE TABLE IF NOT EXISTS withdrawn (kind TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (kind, id)) STRICT;
"""


class AlreadyExists(Exception):
    """An id that is in use, or that belongs to somebody else."""


class DatabaseBusy(UserError):
    """Another process holds the file."""

    def __init__(self) -> None:
        super().__init__("another process is using the database of tokens and ratings: try again shortly.")


class DatabaseUnwritable(UserError):
    """The disk takes no more of the file."""

    def __init__(self) -> None:
        super().__init__("nothing can be stored: the disk of the database is full, or cannot be written.")


class AccessToken(NamedTuple):
    """An access token as it is stored: it cannot be used by whoever reads the file."""

    name: str
    digest: bytes  # BLAKE2b-256 of the token
    created: str
    revoked: str  # when, or ""
    requests_per_minute: int
    tokens_per_minute: int


class Database:
    """An open database file, for use from any thread and by several processes."""

    def __init__(self, file: Path = PEOPLE_FILE) -> None:
        self.file = file
        self._write_lock = Lock()
        self._read_lock = Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # no other user of this machine may read it
            self._db = self._connect(WRITE_SECONDS)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA secure_delete=ON")  # what is taken back does not stay in free pages
            self._db.executescript(SCHEMA)
            # Every request reads the tokens: it must not wait for writers, neither ours nor those of another process.
            self._reader = self._connect(READ_SECONDS)
        except (OSError, sqlite3.DatabaseError) as error:
            advice = "its folder must be one that this account may write, on a disk with room"
            if getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                advice = "move it away, and a new one is made"
            raise UserError(f"{file} cannot be used ({error}): {advice}.") from error

    def _connect(self, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(
            self.file,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )

    def close(self) -> None:
        self._db.close()
        self._reader.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that excludes other writers; after the block it is on the disk.

        Raises DatabaseBusy where others write for long, and DatabaseUnwritable where there is no room.
        """
        with _held(self._write_lock, WRITE_SECONDS), _errors_named():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite ends it by itself where the disk is full
                    self._db.execute("ROLLBACK")
                raise

    def tokens(self) -> list[AccessToken]:
        """Return all tokens that were ever created, including revoked ones, oldest first.

        Raises DatabaseBusy where another process locks the whole file.
        """
        columns = ", ".join(AccessToken._fields)
        with _held(self._read_lock, READ_SECONDS), _errors_named():
            rows = self._reader.execute(f"SELECT {columns} FROM tokens ORDER BY created, name").fetchall()  # noqa: S608
        return [AccessToken(*row) for row in rows]

    def add_token(self, token: AccessToken) -> None:
        """Store `token`. Raises AlreadyExists where the name is in use, even by a revoked token."""
        try:
            with self.writing() as db:
                db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", token)
        except sqlite3.IntegrityError as error:
            raise AlreadyExists(token.name) from error

    def revoke(self, name: str, time: str) -> bool:
        """Revoke the token of that name; return False where there is no valid one."""
        query = "UPDATE tokens SET revoked = ? WHERE name = ? AND revoked = ''"
        with self.writing() as db:
            return db.execute(query, (time, name)).rowcount == 1

    def rate(self, rating: Rating) -> int:
        """Store `rating`, replacing the rater's earlier one of that reply; return its edition.

        Raises AlreadyExists where another rater rated the reply.
        """
        query = "SELECT record, edition, exported FROM records WHERE kind = 'rating' AND id = ?"
        with self.writing() as db:
            row = db.execute(query, (rating.id,)).fetchone()
            edition = 1
            if row:
                record, stored_edition, exported = row
                if json.loads(record)["rater"] != rating.rater:
                    raise AlreadyExists(rating.id)
                edition = stored_edition + exported  # `exported` is 1 or 0
            text = to_line(replace(rating, edition=edition))
            db.execute(
                "INSERT OR REPLACE INTO records VALUES ('rating', ?, ?, ?, 0)",
                (rating.id, edition, text),
            )
        return edition

    def vote(self, vote: Vote) -> None:
        """Store `vote`. Raises AlreadyExists where the match was voted on already."""
        try:
            with self.writing() as db:
                db.execute("INSERT INTO records VALUES ('vote', ?, 1, ?, 0)", (vote.id, to_line(vote)))
        except sqlite3.IntegrityError as error:
            raise AlreadyExists(vote.id) from error

    def withdraw(self, kind: str, identifier: str, rater: str | None) -> bool:
        """Delete a rating or vote that `rater` gave (None: anybody), return whether there was one.

        Its id is kept for the next export, since a file may hold an earlier edition, or one of an export that was killed; its
        words are not, for the log of earlier states is emptied.
        """
        query = "SELECT record FROM records WHERE kind = ? AND id = ?"
        with self.writing() as db:
            row = db.execute(query, (kind, identifier)).fetchone()
            if not row or rater not in (None, json.loads(row[0])["rater"]):
                return False
            db.execute("INSERT OR IGNORE INTO withdrawn VALUES (?, ?)", (kind, identifier))
            db.execute("DELETE FROM records WHERE kind = ? AND id = ?", (kind, identifier))
        self._empty_log()
        return True

    def lines(self) -> list[str]:
        """Return every rating and vote as a line of a file."""
        return [*self._records("rating"), *self._records("vote")]

    def forget(self, selects: Callable[[Any, str], bool]) -> int:
        """Delete the records that `selects`, given one as JSON and as text, takes; return how many.

        Nothing is kept of them for an export, and the log of earlier states is emptied.
        """
        with self.writing() as db:
            rows = db.execute("SELECT rowid, kind, id, record FROM records").fetchall()
            gone = [(row, kind, key) for row, kind, key, record in rows if selects(json.loads(record), record)]
            db.executemany("DELETE FROM records WHERE rowid = ?", [(row,) for row, _, _ in gone])
            db.executemany("DELETE FROM withdrawn WHERE kind = ? AND id = ?", [(kind, key) for _, kind, key in gone])
        self._empty_log()
        return len(gone)

    def _empty_log(self) -> None:
        """Empty the log of earlier states, in vain while another process reads: see `holds`."""
        with _held(self._write_lock, WRITE_SECONDS), _errors_named():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def holds(self, texts: Iterable[str]) -> bool:
        """Return whether the file, or its log of earlier states, holds one of `texts` anywhere."""
        log = self.file.with_name(f"{self.file.name}-wal")
        content = b"".join(path.read_bytes() for path in (self.file, log) if path.is_file())
        return any(text.encode("utf-8", "surrogatepass") in content for text in texts)

    def votes(self) -> list[Vote]:
        """Return all votes, oldest first."""
        return [from_plain(Vote, json.loads(text)) for text in self._records("vote")]

    def ratings(self) -> list[Rating]:
        """Return all ratings, oldest first."""
        return [from_plain(Rating, json.loads(text)) for text in self._records("rating")]

    def _records(self, kind: str) -> list[str]:
        query = "SELECT record FROM records WHERE kind = ? ORDER BY rowid"
        # A connection of its own: there may be many records, and readers of tokens must not wait for them.
        with closing(self._connect(WRITE_SECONDS)) as db:
            return [record for (record,) in db.execute(query, (kind,))]


@contextmanager
def _held(lock: Lock, seconds: float) -> Iterator[None]:
    """Hold `lock`. Raises DatabaseBusy where it is not free within `seconds`."""
    if not lock.acquire(timeout=seconds):
        raise DatabaseBusy
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _errors_named() -> Iterator[None]:
    """Raise DatabaseBusy and DatabaseUnwritable for SQLite's errors that say so."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise DatabaseBusy from error
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
            raise DatabaseUnwritable from error
        raise
