"""Archives: what lies inside is read by its own reader, nothing beyond the limits, nothing from outside."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import MAX_DEPTH, FileReading, read_file
from privllm.collect.readers import archive
from privllm.collect.source_file import SourceFile

LIMIT = 1000
FILES = {"a.txt": b"first", "folder/b.md": b"# second", "c.bin": b"x"}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return made.getvalue()


def tarred(files: dict[str, bytes], mode: Literal["w", "w:gz", "w:bz2", "w:xz"] = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as opened:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return made.getvalue()


def rows_of(tmp_path: Path, name: str, data: bytes) -> list[CollectedDocument | Quarantined]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_file(path, tmp_path, LIMIT))


def texts_of(rows: list[CollectedDocument | Quarantined]) -> dict[str, str]:
    return {row.source: row.text for row in rows if isinstance(row, CollectedDocument)}


def reasons_of(rows: list[CollectedDocument | Quarantined]) -> dict[str, str]:
    return {row.source: row.reason for row in rows if isinstance(row, Quarantined)}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.zip", zipped),
        ("a.ZIP", lambda files: zipped(files, zipfile.ZIP_STORED)),
        ("a.tar", tarred),
        ("a.tar.gz", lambda files: tarred(files, "w:gz")),
        ("a.tgz", lambda files: gzip.compress(tarred(files))),
        ("a.tar.bz2", lambda files: bz2.compress(tarred(files))),
        ("a.tar.xz", lambda files: lzma.compress(tarred(files))),
    ],
)
def test_members_are_documents_named_by_their_path(
    tmp_path: Path, name: str, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    rows = rows_of(tmp_path, name, make(FILES))
    assert texts_of(rows) == {f"{name}#a.txt": "first", f"{name}#folder/b.md": "# second"}
    assert reasons_of(rows) == {f"{name}#c.bin": "unsupported"}


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_compressed_file_is_one_document(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    name = f"notes.txt.{suffix}"
    assert texts_of(rows_of(tmp_path, name, compress(b"words"))) == {f"{name}#notes.txt": "words"}


def test_archives_lie_in_archives_up_to_a_depth(tmp_path: Path) -> None:
    data, place = zipped({"a.txt": b"words"}), "a.txt"
    for depth in range(1, MAX_DEPTH):
        data, place = zipped({f"{depth}.zip": data}), f"{depth}.zip/{place}"
    assert texts_of(rows_of(tmp_path, "deep.zip", data)) == {f"deep.zip#{place}": "words"}
    rows = rows_of(tmp_path, "deeper.zip", zipped({"one.zip": data}))
    assert not texts_of(rows)
    assert list(reasons_of(rows).values()) == ["too_deep"]


def test_an_archive_that_is_called_a_text_is_known_by_its_bytes(tmp_path: Path) -> None:
    assert texts_of(rows_of(tmp_path, "a.txt", zipped({"b.txt": b"words"}))) == {"a.txt#b.txt": "words"}


@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_lead_nowhere(tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]) -> None:
    rows = rows_of(
        tmp_path, "a.zip" if make is zipped else "a.tar", make({"../../up.txt": b"up", "/etc/root.txt": b"root"})
    )
    assert sorted(source.partition("#")[2] for source in texts_of(rows)) == ["etc/root.txt", "up.txt"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as opened:
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    assert reasons_of(rows_of(tmp_path, "a.tar", made.getvalue())) == {"a.tar": "empty"}


def test_two_members_of_one_name_are_two_documents(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for number, text in enumerate(("first", "second", "second")):
            opened.writestr(f"{number}.txt", text)
    named_alike = made.getvalue().replace(b"1.txt", b"0.txt").replace(b"2.txt", b"0.txt")
    texts = texts_of(rows_of(tmp_path, "a.zip", named_alike))
    assert sorted(texts.values()) == ["first", "second", "second"]
    assert "a.zip#0.txt" in texts


def test_what_a_desktop_leaves_is_passed_over(tmp_path: Path) -> None:
    names = ["__MACOSX/._a.txt", "docs/.DS_Store", "docs/~$report.docx", ".~lock.a.odt#", "Thumbs.db"]
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(dict.fromkeys(names, b"x") | {"a.txt": b"words"}))
    rows = [row for row, _ in FileReading(LIMIT).rows(SourceFile.at(path, tmp_path))]
    assert len(rows) == len(names) + 1
    assert [type(row) for row in list(read_file(path, tmp_path, LIMIT))] == [CollectedDocument]


@pytest.mark.parametrize("compress", [zipped, lambda files: tarred(files, "w:gz")])
def test_an_archive_that_grows_too_much_is_stopped(
    tmp_path: Path, compress: Callable[[dict[str, bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 2000)
    monkeypatch.setattr(archive, "MAX_RATIO", 2)
    data = compress({f"{number}.txt": b"a" * 900 for number in range(20)})
    rows = rows_of(tmp_path, "a.zip" if data.startswith(b"PK") else "a.tgz", data)
    assert list(reasons_of(rows).values()) == ["too_much"]
    assert len(texts_of(rows)) < 5


def test_a_member_over_the_limit_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "a.zip", zipped({"large.txt": b"a" * (LIMIT + 1), "small.txt": b"words"}))
    assert reasons_of(rows) == {"a.zip#large.txt": "too_large"}
    assert texts_of(rows) == {"a.zip#small.txt": "words"}


def test_a_size_that_lies_does_not_count(tmp_path: Path) -> None:
    data = zipped({"a.txt": b"a" * (LIMIT + 1)}, zipfile.ZIP_STORED)
    lying = data.replace((LIMIT + 1).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    (row,) = rows_of(tmp_path, "a.zip", lying)
    assert isinstance(row, Quarantined)


def test_a_damaged_archive_gives_what_it_can(tmp_path: Path) -> None:
    whole = tarred({f"{number}.txt": b"words" * 100 for number in range(9)})
    rows = rows_of(tmp_path, "a.tgz", gzip.compress(whole, compresslevel=0)[:5000])
    assert texts_of(rows)
    assert "damaged" in reasons_of(rows).values()
    assert reasons_of(rows_of(tmp_path, "b.zip", b"PK\x03\x04" + bytes(50))) == {"b.zip": "damaged"}
    assert reasons_of(rows_of(tmp_path, "c.gz", b"no archive")) == {"c.gz": "damaged"}


def test_an_encrypted_member_says_so(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.txt": b"words"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    assert reasons_of(rows_of(tmp_path, "a.zip", bytes(data))) == {"a.zip#a.txt": "encrypted"}
    (row,) = rows_of(tmp_path, "a.zip", bytes(data))
    assert row.detail == "it is encrypted, a password is needed: save it without one"


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (93, "Zstandard"), (97, "method 97")])
def test_a_compression_that_is_not_known_is_named(tmp_path: Path, method: int, name: str) -> None:
    data = bytearray(zipped({"a.txt": b"words"}))
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + offset] = method
    for cut in (bytes(data), bytes(data[:-30])):
        row = rows_of(tmp_path, "a.zip", cut)[0]
        assert (row.source, row.reason) == ("a.zip#a.txt", "unsupported")
        assert row.detail == f"its compression ({name}) is not known: pack it with Deflate"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_is_cut_gives_its_members(tmp_path: Path, method: int) -> None:
    inner = zipped({"deep.txt": b"deep"}, zipfile.ZIP_STORED)
    whole = zipped({"folder/": b"", "a.txt": b"first", "in.zip": inner, "b.txt": b"second" * 50}, method)
    begin = whole.index(b"folder/", 50) - 46  # of the directory
    texts = {"a.zip#a.txt": "first", "a.zip#in.zip/deep.txt": "deep", "a.zip#b.txt": "second" * 50}
    for size in (begin, begin + 50, len(whole) - 5):
        rows = rows_of(tmp_path, "a.zip", whole[:size])
        assert texts_of(rows) == texts
        assert reasons_of(rows) == {"a.zip": "damaged"}
    rows = rows_of(tmp_path, "a.zip", whole[: begin - 3])
    assert [*texts_of(rows)] == [*texts][:2]
    assert reasons_of(rows) == {"a.zip#b.txt": "damaged", "a.zip": "damaged"}
    for size in range(4, begin):
        assert reasons_of(rows_of(tmp_path, "a.zip", whole[:size]))["a.zip"] == "damaged"


def test_a_zip_written_to_a_pipe_and_cut_gives_its_members(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.txt", b"first")
        opened.writestr("b.txt", b"second" * 50)
    whole = pipe.getvalue()
    rows = rows_of(tmp_path, "a.zip", whole[: whole.index(b"PK\x01\x02")])
    assert texts_of(rows) == {"a.zip#a.txt": "first", "a.zip#b.txt": "second" * 50}


def test_a_cut_zip_that_grows_too_much_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 2000)
    monkeypatch.setattr(archive, "MAX_RATIO", 2)
    data = zipped({f"{number}.txt": b"a" * 900 for number in range(20)})
    rows = rows_of(tmp_path, "a.zip", data[: data.index(b"PK\x01\x02")])
    assert list(reasons_of(rows).values()) == ["too_much"]


@pytest.mark.parametrize("size", [1 << 20, 0xFFFFFFF0])
def test_a_member_that_lies_about_its_size_costs_itself(tmp_path: Path, size: int) -> None:
    data = bytearray(zipped({"a.txt": b"first", "b.txt": b"second", "c.txt": b"third"}))
    entry = data.index(b"b.txt", data.index(b"PK\x01\x02")) - 46  # in the directory
    data[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    rows = rows_of(tmp_path, "a.zip", bytes(data))
    assert texts_of(rows) == {"a.zip#a.txt": "first", "a.zip#c.txt": "third"}
    assert reasons_of(rows) == {"a.zip#b.txt": "too_large"}


def test_a_zip_behind_a_program_is_a_zip(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "a.zip", b"MZ" + bytes(1000) + zipped({"a.txt": b"words"}))
    assert texts_of(rows) == {"a.zip#a.txt": "words"}
    assert not reasons_of(rows)
