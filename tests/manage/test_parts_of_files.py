"""A part is taken out of its file: the others stay as they are, under their names; else the file stays as it is."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.read_file import read_file
from privllm.collect.source_file import DEFAULT_OPTIONS, ReadOptions
from privllm.core.errors import UserError
from privllm.manage import parts_of_files
from privllm.manage.parts_of_files import parts_in, take_out
from privllm.manage.source_files import read_selected, remove, select
from tests.collect.readers.test_archive import zipped
from tests.collect.test_reader_versions import MAIL
from tests.pdf_files import column, pdf_of

FROM = b"From somebody@example.org Thu Nov 26 04:23:00 2026\n"


def mailbox(count: int) -> bytes:
    mails = []
    for number in range(count):
        head = FROM + b"Subject: %d\nMessage-ID: <%d@example.org>\n\n" % (number, number)
        mails.append(head + b"Words of mail %d.\n>From here on, quoted.\n" % number)
    return b"\n".join(mails) + b"\n"


def tarred(members: dict[str, bytes], mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "b.txt"
        archive.addfile(link)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


MEMBERS = {"a.txt": b"one", "folder/b.txt": b"two", "folder/c.txt": b"three"}
FILES = {  # {name: (bytes, the parts to take out, the sources that stay)}
    "in.mbox": (mailbox(3), ["1@example.org"], ["0@example.org", "2@example.org"]),
    "like.mbox": (mailbox(2).replace(b"<1@example.org>", b"<0@example.org/2>"), ["0@example.org"], ["0@example.org/2"]),
    "inner.mbox": (
        mailbox(2).replace(b"<1@example.org>", b"<0@example.org/2>"),
        ["0@example.org/2"],
        ["0@example.org"],
    ),
    "like.csv": (b"id,text\nx,one\nx/2,two\n", ["x"], ["x/2"]),
    "last.mbox": (b"a preamble\n\n" + mailbox(2), ["1@example.org"], ["0@example.org", ""]),
    "a.csv": (b'\xef\xbb\xbfid,text\r\nx,"one\r\nmore"\r\n\r\ny,two\r\nz,three', ["y", "z"], ["x"]),
    "b.tsv": ("id\ttext\nx\tgr\xfcn\ny\tblau\n".encode("latin-1"), ["y"], ["x"]),
    "wide.csv": ("\ufeffid;text\nx;one\ny;two\n".encode("utf-16-le"), ["x"], ["y"]),
    "a.zip": (zipped(MEMBERS), ["folder"], ["a.txt"]),
    "b.zip": (zipped(MEMBERS), ["a.txt", "folder/c.txt"], ["folder/b.txt"]),
    "a.tar": (tarred(MEMBERS, "w"), ["a.txt"], ["folder/b.txt", "folder/c.txt"]),
    "a.tgz": (tarred(MEMBERS, "w:gz"), ["folder/b.txt"], ["a.txt", "folder/c.txt"]),
    "a.tar.xz": (tarred(MEMBERS, "w:xz"), ["folder"], ["a.txt"]),
}


def rows_of(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> dict[str, str]:
    rows = list(read_file(path, path.parent, 1 << 20, options=options))
    return {row.source.partition("#")[2]: getattr(row, "text", "") for row in rows}


@pytest.mark.parametrize("name", FILES)
def test_a_part_goes_and_the_others_stay(tmp_path: Path, name: str) -> None:
    data, keys, staying = FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    path.chmod(0o640)
    before = rows_of(path)
    selection = select(tmp_path, [f"{name}#{key}" for key in keys])
    selected = [row.source for row in read_selected(selection, tmp_path, 1 << 20, (), DEFAULT_OPTIONS)]  # type: ignore[arg-type]
    assert {source.partition("#")[2] for source in selected} == before.keys() - {*staying}
    remove(selection, tmp_path)
    assert rows_of(path) == {key: before[key] for key in staying}
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == [name]
    remove(selection, tmp_path)  # after an interruption
    assert rows_of(path) == {key: before[key] for key in staying}


def test_lines_of_a_table_and_a_mailbox_stay_byte_by_byte(tmp_path: Path) -> None:
    for name in ("in.mbox", "a.csv"):
        data, keys, _ = FILES[name]
        (tmp_path / name).write_bytes(data)
        take_out(tmp_path / name, name, {f"{name}#{keys[0]}"}, DEFAULT_OPTIONS)
    assert (tmp_path / "a.csv").read_bytes() == FILES["a.csv"][0].replace(b"y,two\r\n", b"")
    mails = FILES["in.mbox"][0].split(FROM)
    assert (tmp_path / "in.mbox").read_bytes() == FROM.join([mails[0], mails[1], mails[3]])


@given(st.data())
def test_any_rows_of_any_table(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    field = st.text('ab,;"\n\r\t \xe9', max_size=6)
    rows = data.draw(st.lists(field, min_size=1, max_size=8))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    quoted = [f'{number},"{row.replace(chr(34), chr(34) * 2)}"' for number, row in enumerate(rows)]
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    path.write_bytes(end.join(["id,text", *quoted]).encode())
    before = rows_of(path)
    removed = data.draw(st.sets(st.sampled_from(range(len(rows)))))
    take_out(path, "a.csv", {f"a.csv#{number}" for number in removed}, DEFAULT_OPTIONS)
    left = rows_of(path) if len(removed) < len(rows) else {}
    assert left == {key: text for key, text in before.items() if int(key) not in removed}


def test_a_member_called_as_a_folder_goes_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"b.txt": b"one", "b.txt/c.txt": b"two"}))
    remove(select(tmp_path, ["a.zip#b.txt"]), tmp_path)
    assert [*rows_of(path)] == ["b.txt/c.txt"]


def test_equal_rows_go_together(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\none\none\ntwo\n")
    first, second, _ = [part.source for part in parts_in(path, "a.csv", DEFAULT_OPTIONS)]
    with pytest.raises(UserError, match="equal parts have to go together"):
        take_out(path, "a.csv", {first}, DEFAULT_OPTIONS)
    assert path.read_text() == "text\none\none\ntwo\n"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    take_out(path, "a.csv", {first, second}, DEFAULT_OPTIONS)
    assert path.read_text() == "text\ntwo\n"


def test_an_attachment_goes_with_its_mail(tmp_path: Path) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(FROM + MAIL % (1, pdf_of(column(["The harbour is deep."]))) + b"\n" + mailbox(1))
    with pytest.raises(
        UserError, match=r"lies inside in\.mbox#1@example\.org, .*: forget in\.mbox#1@example\.org, or take it"
    ):
        select(tmp_path, ["in.mbox#1@example.org/a.pdf"])
    remove(select(tmp_path, ["in.mbox#1@example.org"]), tmp_path)
    assert [*rows_of(path)] == ["0@example.org"]


def test_for_other_formats_it_says_how(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x"], "text": ["one"]}), tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps([{"id": "x", "text": "one"}]))
    lines = b'{"text": "one"}\n{"text": "two"}\n'
    (tmp_path / "b.zip").write_bytes(zipped({"c.zip": zipped({"d.txt": b"one"}), "e.jsonl": lines}))
    (tmp_path / "a.eml").write_bytes(b"Subject: s\nContent-Disposition: attachment; filename=e.txt\n\nwords\n")
    for name, advice in {
        "a.parquet#x": "filter the row out, such as with DuckDB",
        "a.json#x": "take the member out of the array",
        "b.zip#c.zip/d.txt": r"forget b\.zip#c\.zip, or take it out",
        "b.zip#e.jsonl#2": r"forget b\.zip#e\.jsonl, or take it out",
        "a.eml#e.txt": "forget the whole mail",
    }.items():
        with pytest.raises(UserError, match=f"{name} lies inside .*{advice}"):
            select(tmp_path, [name])


def test_a_damaged_archive_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    data = bytearray(zipped(MEMBERS))
    data[data.index(b"folder/c.txt") + len("folder/c.txt")] ^= 4  # of what is compressed
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.zip cannot be written anew \("):
        take_out(path, "a.zip", {"a.zip#a.txt"}, DEFAULT_OPTIONS)
    assert path.read_bytes() == data
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_a_neighbour_that_came_out_otherwise_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(mailbox(3))
    monkeypatch.setattr(parts_of_files, "_write_mailbox", lambda old, new, removed: new.write(mailbox(1)))
    with pytest.raises(UserError, match=r"^in\.mbox#1@example\.org cannot be taken out"):
        take_out(path, "in.mbox", {"in.mbox#1@example.org"}, DEFAULT_OPTIONS)
    assert path.read_bytes() == mailbox(3)
