import json
import os
import stat
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.feedback.files import append
from privllm.feedback.records import read_ratings, read_votes
from privllm.serve import feedback_export
from privllm.serve.database import Database
from privllm.serve.feedback_export import export_feedback, key_of
from tests.feedback.cases import rating, vote


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "people.sqlite")
    database.rate(rating("a"))
    database.vote(vote("1", "left"))
    database.vote(vote("2", "both_bad"))
    return database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data/feedback"


def test_everything_comes_out_once(database: Database, folder: Path) -> None:
    assert export_feedback(database, folder).appended == {"ratings.jsonl": 1, "votes.jsonl": 2}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert export_feedback(database, folder).appended == {"ratings.jsonl": 0, "votes.jsonl": 0}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    database.vote(vote("3", "tie"))
    database.rate(rating("a", correction="yes"))
    assert export_feedback(database, folder).appended == {"ratings.jsonl": 1, "votes.jsonl": 1}
    assert read_votes(folder / "votes.jsonl") == database.votes()
    assert read_ratings(folder / "ratings.jsonl") == database.ratings() == [rating("a", 2, "yes")]
    assert (folder / "votes.jsonl").read_bytes().startswith(before["votes.jsonl"])
    assert {path.name for path in folder.parent.iterdir()} == {"feedback"}


def export_and_die(database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Export, and end before or after the first file is written."""

    def killed(path: Path, lines: list[str]) -> None:
        if moment == "after":
            append(path, lines)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feedback_export, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            export_feedback(database, folder)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_moment_each_row_comes_out_once(
    database: Database, folder: Path, moment: str, monkeypatch
) -> None:
    export_and_die(database, folder, monkeypatch, moment)
    export_feedback(database, folder)
    assert [len(path.read_bytes().splitlines()) for path in sorted(folder.iterdir())] == [1, 2]


def test_a_link_into_the_cache_is_replaced_not_written_into(database: Database, folder: Path, tmp_path: Path) -> None:
    cached = tmp_path / "cached"
    cached.write_text('{"id": "0"}\n')
    folder.mkdir(parents=True)
    os.link(cached, folder / "votes.jsonl")
    export_feedback(database, folder)
    assert cached.read_text() == '{"id": "0"}\n'
    assert len((folder / "votes.jsonl").read_bytes().splitlines()) == 3


def test_a_foreign_file_is_left_alone(database: Database, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "votes.jsonl").write_text("my notes\n")
    with pytest.raises(UserError, match="line 1 is no record"):
        export_feedback(database, folder)
    assert (folder / "votes.jsonl").read_text() == "my notes\n"
    (folder / "votes.jsonl").unlink()
    assert export_feedback(database, folder).appended == {
        "ratings.jsonl": 0,
        "votes.jsonl": 2,
    }  # the rating was appended before


def test_a_last_line_without_an_end_stays_a_line_of_its_own(database: Database, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "votes.jsonl").write_text('{"id": "0"}')
    assert export_feedback(database, folder).appended["votes.jsonl"] == 2
    lines = (folder / "votes.jsonl").read_text("utf-8").split("\n")
    assert (lines[0], len(lines), lines[-1]) == ('{"id": "0"}', 4, "")
    assert [vote.id for vote in database.votes()] == ["1", "2"]


def test_what_stands_in_the_file_already_is_marked_and_not_written_again(database: Database, folder: Path) -> None:
    export_feedback(database, folder)
    with database.writing() as db:
        db.execute("UPDATE records SET exported = 0")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert export_feedback(database, folder).appended == {"ratings.jsonl": 0, "votes.jsonl": 0}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with database.writing() as db:
        assert db.execute("SELECT count(*) FROM records WHERE NOT exported").fetchone() == (0,)


def test_an_edition_is_another_line(database: Database, folder: Path) -> None:
    export_feedback(database, folder)
    for correction in ("one", "two"):
        database.rate(rating("a", correction=correction))
        assert export_feedback(database, folder).appended["ratings.jsonl"] == 1
    editions = [json.loads(line)["edition"] for line in (folder / "ratings.jsonl").read_bytes().splitlines()]
    assert editions == [1, 2, 3]


def test_a_failure_in_the_second_file_marks_nothing(database: Database, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "votes.jsonl").write_text("my notes\n")
    with pytest.raises(UserError, match="line 1 is no record"):
        export_feedback(database, folder)
    with database.writing() as db:
        assert db.execute("SELECT count(*) FROM records WHERE exported").fetchone() == (0,)


def test_an_earlier_edition_of_what_is_taken_back_leaves_the_file(database: Database, folder: Path) -> None:
    export_feedback(database, folder)
    database.rate(rating("a", correction="changed after the export"))
    assert database.withdraw("rating", "a", None)
    assert export_feedback(database, folder).removed == {"ratings.jsonl": 1}
    assert (folder / "ratings.jsonl").read_bytes() == b""


def test_what_a_killed_export_has_written_leaves_the_file_when_it_is_taken_back(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_and_die(database, folder, monkeypatch, "after")
    assert database.withdraw("rating", "a", None)
    export_feedback(database, folder)
    assert (folder / "ratings.jsonl").read_bytes() == b""


@pytest.mark.parametrize("line", ["[]", "5", '{"edition": 1}', "{", '"x"', "null", "[" * 200_000])
def test_lines_that_are_no_records_are_named(database: Database, folder: Path, line: str) -> None:
    folder.mkdir(parents=True)
    (folder / "votes.jsonl").write_text(f'{{"id": "0"}}\n{line}\n')
    with pytest.raises(UserError, match=r"votes\.jsonl, line 2 is no record of feedback"):
        export_feedback(database, folder)


def test_what_is_exported_is_on_the_disk_before_it_is_marked(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of things: all of the file's bytes, its name, the folders."""
    done: list[object] = []
    sync, rename = os.fsync, Path.replace

    def synced(file: int) -> None:
        is_file = stat.S_ISREG(os.fstat(file).st_mode)
        done.append(os.fstat(file).st_size if is_file else "folder")
        sync(file)

    def renamed(path: Path, target: Path) -> Path:
        done.append("name")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    append(folder / "votes.jsonl", ["{}", "[]"])
    assert done == [6, "name", "folder", "folder"]


def test_what_is_taken_back_leaves_every_file_at_the_next_export(database: Database, folder: Path) -> None:
    export_feedback(database, folder)
    (folder / "from another server").mkdir()
    copy = folder / "from another server/old.jsonl"
    copy.write_bytes((folder / "ratings.jsonl").read_bytes() + b"no JSON\n")
    votes = (folder / "votes.jsonl").read_bytes()
    assert database.withdraw("rating", "a", None)
    exported = export_feedback(database, folder)
    assert exported.removed == {"from another server/old.jsonl": 1, "ratings.jsonl": 1}
    assert exported.appended == {"ratings.jsonl": 0, "votes.jsonl": 0}
    assert (folder / "ratings.jsonl").read_bytes() == b""
    assert copy.read_bytes() == b"no JSON\n"
    assert (folder / "votes.jsonl").read_bytes() == votes
    assert export_feedback(database, folder).removed == {}
    database.rate(rating("a"))  # and given once more
    assert export_feedback(database, folder).appended["ratings.jsonl"] == 1


def test_killed_while_it_takes_out_the_next_export_does_it(database: Database, folder: Path, monkeypatch) -> None:
    export_feedback(database, folder)
    database.withdraw("vote", "1", None)
    database.vote(vote("3", "tie"))
    with monkeypatch.context() as patch:
        patch.setattr(feedback_export, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            export_feedback(database, folder)
    export_feedback(database, folder)
    assert [record.id for record in read_votes(folder / "votes.jsonl")] == ["2", "3"]


@pytest.mark.parametrize("plain", [None, [], {}, {"id": 1}, {"id": None}])
def test_what_is_no_record_has_no_key(plain: object) -> None:
    assert key_of(plain) is None
