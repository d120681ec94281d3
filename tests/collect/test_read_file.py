"""Parts of containers: what is taken over from the last run, what is refused, what is passed over."""

import warnings
import zipfile
from pathlib import Path

import pytest

from privllm.collect import read_file as reading
from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined
from privllm.collect.parsed import About
from privllm.collect.read_file import FileReading, RememberedParts, read_file
from privllm.collect.seen_files import Entry
from privllm.collect.source_file import SourceFile
from privllm.core.records import document_id
from privllm.core.seed import digest
from tests.collect.readers.test_archive import zipped


def entry(source: str, data: bytes, *parts: int, reason: str = "") -> Entry:
    kind = "text/plain", "utf-8", digest(data)
    told = part_of(source, data).told
    lies_in = list(parts), [len(data)] * len(parts), [""] * (len(parts) - 1)
    return Entry("id", source, *kind, "", "", "", 1, 0, reason, "", "", *lies_in, told)


def part_of(source: str, data: bytes, name: str = "part.txt", title: str = "") -> SourceFile:
    return SourceFile(source, name, data=data, about=About(title))


def test_a_part_is_remembered_by_source_and_bytes_with_what_lies_inside() -> None:
    mail = entry("in.mbox#1", b"mail", 9)
    inside = [entry("in.mbox#1/a.txt", b"a", 9, 15), entry("in.mbox#1/b/c.txt", b"c", 9, 11, 17)]
    beside = [entry("in.mbox#1/2", b"mail", 11), entry("in.mbox#10", b"mail", 10), entry("in.mbox#1.txt", b"mail", 13)]
    parts = RememberedParts([mail, *inside, *beside])
    part = part_of("in.mbox#1", b"mail")
    found = parts.look_up(part, (9,))
    assert found is not None
    assert found.entries == [mail, *inside]
    assert parts.look_up(part, (5, 9)) is None
    assert parts.look_up(part_of("in.mbox#1", b"edited"), (9,)) is None
    assert parts.look_up(part_of("in.mbox#1", b"mail", "part.eml"), (9,)) is None
    assert parts.look_up(part_of("in.mbox#1", b"mail", title="Of a book"), (9,)) is None
    assert parts.look_up(part_of("in.mbox#3", b"mail"), (9,)) is None


def test_rows_of_a_part_are_no_part() -> None:
    parts = RememberedParts([entry("a.zip#t.csv/x.txt", b"words", 11), entry("a.zip#b.txt", b"words", 11)])
    assert parts.look_up(part_of("a.zip#t.csv/x.txt", b"words"), (17,)) is None
    assert parts.look_up(part_of("a.zip#t.csv", b"words"), (11,)) is None
    assert parts.look_up(part_of("a.zip#b.txt", b"words"), (11,)) is not None


def test_what_was_too_much_among_other_neighbours_is_looked_at_again() -> None:
    parts = RememberedParts([entry("a.zip#b.txt", b"words", 11, reason="too_much")])
    assert parts.look_up(part_of("a.zip#b.txt", b"words"), (11,)) is None


@pytest.mark.parametrize(
    "names", [("t.csv", "t.csv/x.txt"), ("t.csv/x.txt", "t.csv"), ("t.csv", "t.csv/x.txt", "t.csv/x.txt")]
)
def test_rows_and_members_of_one_name_are_told_apart(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of equal names
        for name in names:
            opened.writestr(name, "id,text\nx.txt,row\n" if name == "t.csv" else "member")
    rows = [row for row in read_file(path, tmp_path, 1000) if isinstance(row, CollectedDocument)]
    assert rows[0].source == "a.zip#t.csv/x.txt"
    assert len({row.source for row in rows}) == len(names)
    assert [row.id for row in rows] == [document_id(row.source) for row in rows]


@pytest.mark.parametrize(("limit", "value"), [("MAX_PARTS", 3), ("MAX_UNPACKED", 15)])
def test_parts_beyond_the_limit_are_refused_one_by_one(
    tmp_path: Path, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, limit, value)
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({f"{number}.txt": b"words" for number in range(5)}))
    rows = list(read_file(path, tmp_path, 1000))
    refused = [row for row in rows if isinstance(row, Quarantined)]
    assert [row.source for row in refused] == ["a.zip#3.txt", "a.zip#4.txt"]
    assert {row.reason for row in refused} == {"too_much"}


def test_a_small_file_unpacks_to_no_more_than_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FREE_UNPACKED", 5_000)
    monkeypatch.setattr(reading, "MAX_RATIO", 1)
    path = tmp_path / "a.zip"
    inner = zipped({"b.txt": b"words " * 400})
    path.write_bytes(zipped({f"{number}.zip": inner for number in range(5)}))
    rows = list(read_file(path, tmp_path, 10_000))
    assert [row.source for row in rows if isinstance(row, CollectedDocument)] == ["a.zip#0.zip/b.txt"]
    assert {row.reason for row in rows if isinstance(row, Quarantined)} == {"too_much"}


def test_an_empty_part_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a.txt": b""}))
    (row,) = read_file(path, tmp_path, 1000)
    assert isinstance(row, Quarantined)
    assert (row.source, row.reason) == ("a.zip#a.txt", "empty")


def test_hidden_members_are_passed_over_and_attachments_are_not(tmp_path: Path) -> None:
    mail = b"From: a@b\nMIME-Version: 1.0\nContent-Disposition: attachment; filename=.env.txt\n\nattached\n"
    members = {".env.txt": b"secret", ".git/config.txt": b"x", "./a.txt": b"words", "m.eml": mail}
    maildir = {"Maildir/.Sent/cur/1764130980.M5P6.host": b"From: a@b\n\nwords"}
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(members | maildir))
    rows = [row for row, _ in FileReading(1000).rows(SourceFile.at(path, tmp_path))]
    passed_over = [row.source for row in rows if isinstance(row, PassedOver)]
    assert passed_over == ["a.zip#.env.txt", "a.zip#.git/config.txt"]
    read = {row.source for row in rows if isinstance(row, CollectedDocument)}
    assert read == {"a.zip#a.txt", "a.zip#m.eml/.env.txt", f"a.zip#{next(iter(maildir))}"}
