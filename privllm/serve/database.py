"""What people did, in SQLite: access tokens, ratings and votes. The file is `.privllm/people.sqlite`.

Write-ahead log, every commit synchronised to the disk: what was answered survives `kill -9`. Only what a person rates or votes on
is written, with the messages it is about; other chats are never stored. It checks nothing about who may write (see `access`) and
exports nothing (see `feedback`).
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from privllm.core.errors import UserError
from privllm.core.work_paths import PEOPLE_FILE
from privllm.feedback.records import Rating, Vote, from_plain, to_line

PATIENCE = 30.0  # seconds to wait for another process that writes
SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (
    name TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, created TEXT NOT NULL, revoked TEXT NOT NULL DEFAULT '',
    requests_per_minute INTEGER NOT NULL, tokens_per_minute INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, edition INTEGER NOT NULL, record TEXT NOT NULL, exported INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, id)
) STRICT;
"""


class Taken(Exception):
    """The id is somebody else's, or was used already."""


class Token(NamedTuple):
    """An access token as it is stored: whoever reads the file cannot use it."""

    name: str
    digest: bytes  # BLAKE2b-256 of the token
    created: str
    revoked: str  # when, or ""
    requests_per_minute: int
    tokens_per_minute: int


class People:
    """The open file. Methods may be called from any thread; several processes may have it open."""

    def __init__(self, file: Path = PEOPLE_FILE) -> None:
        self._file = file
        self._lock, self._reading = Lock(), Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # what people wrote is nobody else's on this machine
            self._db = self._connect()
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
            # Every call asks for tokens: it may not wait for who writes, be it another process that takes its time.
            self._reader = self._connect()
        except (OSError, sqlite3.DatabaseError) as error:
            raise UserError(f"{file} cannot be used ({error}): move it away, and a new one is made.") from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=PATIENCE, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        self._db.close()
        self._reader.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other process or thread can come between; on the disk when the block has ended."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def tokens(self) -> list[Token]:
        """All that were ever made, the revoked ones too, oldest first."""
        with self._reading:
            rows = self._reader.execute(f"SELECT {', '.join(Token._fields)} FROM tokens ORDER BY created, name").fetchall()  # noqa: S608
        return [Token(*row) for row in rows]

    def add_token(self, token: Token) -> None:
        """Raises Taken where the name is used, be it by a revoked token."""
        try:
            with self.writing() as db:
                db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", token)
        except sqlite3.IntegrityError as error:
            raise Taken(token.name) from error

    def revoke(self, name: str, time: str) -> bool:
        """Whether there was a token of that name that still worked."""
        with self.writing() as db:
            return db.execute("UPDATE tokens SET revoked = ? WHERE name = ? AND revoked = ''", (time, name)).rowcount == 1

    def rate(self, rating: Rating) -> int:
        """Keep `rating`, in place of what the same rater said of the same reply before; returns its edition.

        Raises Taken where another rater rated it.
        """
        with self.writing() as db:
            row = db.execute("SELECT record, edition, exported FROM records WHERE kind = 'rating' AND id = ?", (rating.id,)).fetchone()
            if row and json.loads(row[0])["rater"] != rating.rater:
                raise Taken(rating.id)
            edition = row[1] + row[2] if row else 1
            text = to_line(replace(rating, edition=edition))
            db.execute("INSERT OR REPLACE INTO records VALUES ('rating', ?, ?, ?, 0)", (rating.id, edition, text))
        return edition

    def vote(self, vote: Vote) -> None:
        """Keep `vote`. Raises Taken where the match was voted on already."""
        try:
            with self.writing() as db:
                db.execute("INSERT INTO records VALUES ('vote', ?, 1, ?, 0)", (vote.id, to_line(vote)))
        except sqlite3.IntegrityError as error:
            raise Taken(vote.id) from error

    def votes(self) -> list[Vote]:
        """All of them, oldest first."""
        return [from_plain(Vote, json.loads(text)) for (text,) in self._records("vote")]

    def ratings(self) -> list[Rating]:
        return [from_plain(Rating, json.loads(text)) for (text,) in self._records("rating")]

    def _records(self, kind: str) -> list[tuple[str]]:
        with closing(self._connect()) as db:  # there may be many: whoever asks for tokens meanwhile does not wait
            return db.execute("SELECT record FROM records WHERE kind = ? ORDER BY rowid", (kind,)).fetchall()
