"""Names that people type, of what lies inside a file."""

from pathlib import Path

import pytest

from privllm.collect.read_file import read_file
from privllm.manage.source_files import file_holding, is_below, present, read_options, remove, select
from tests.collect.readers.test_archive import zipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.zip").write_bytes(zipped({"b/one.txt": b"one", "two.txt": b"two"}))
    (tmp_path / "c#d.txt").write_text("a file with a mark in its name")
    return tmp_path


def test_a_member_lies_below_its_archive_and_its_folder() -> None:
    for name in ("", "a.zip", "a.zip#b", "a.zip#b/one.txt"):
        assert is_below("a.zip#b/one.txt", name)
    for name in ("a.zi", "a.zip#one.txt", "b", "a.txt"):
        assert not is_below("a.zip#b/one.txt", name)
    assert not is_below("a.txt#1", "a.txt")  # a text holds no parts
    assert is_below("a.pdf#scanned pages", "a.pdf")
    assert not is_below("a.pdf#12", "a.pdf")


def test_the_file_of_a_document_is_found_by_its_marks(folder: Path) -> None:
    assert file_holding("a.zip#b/one.txt", folder) == folder / "a.zip"
    assert file_holding("c#d.txt", folder) == folder / "c#d.txt"
    assert file_holding("gone.zip#one.txt", folder) is None


def test_members_are_present_while_the_archive_has_them(folder: Path) -> None:
    assert present(folder, ["a.zip#two.txt", "a.zip#gone.txt", "c#d.txt"]) == {"a.zip#two.txt", "c#d.txt"}


def test_a_member_is_named_by_its_source(folder: Path) -> None:
    assert select(folder, ["a.zip#two.txt", "a.zip#b"]).parts == {folder / "a.zip": ["a.zip#two.txt", "a.zip#b"]}
    assert select(folder, ["a.zip#gone.txt"]).missing == ["a.zip#gone.txt"]
    whole = select(folder, ["a.zip", "a.zip#two.txt"])
    assert (whole.files, whole.parts) == ([folder / "a.zip"], {})


def test_rows_of_a_table_are_known_by_the_column_that_holds_the_texts(folder: Path) -> None:
    """Without the option the table is refused as a whole, and no name in it is known."""
    (folder / "a.csv").write_text("id,body\nx1,one\nx2,two\n")
    (folder / "params.yaml").write_text("collect: {text_key: body}\n")
    options = read_options(folder)
    assert present(folder, ["a.csv#x2", "a.csv#x3"], options) == {"a.csv#x2"}
    assert select(folder, ["a.csv#x1"], options).parts == {folder / "a.csv": ["a.csv#x1"]}
    assert select(folder, ["a.csv#x1"]).missing == ["a.csv#x1"]


MAILBOX = "".join(
    f"From a@b Thu Nov 26 04:23:00 2026\nMessage-ID: <{number}@h>\n\nmail {number}\n\n" for number in (1, 2)
)


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [("in.txt", MAILBOX.encode(), "1@h"), ("b.txt", zipped({"one.txt": b"one", "two.txt": b"two"}), "one.txt")],
)
def test_parts_of_a_file_that_is_called_a_text_are_removed(tmp_path: Path, name: str, data: bytes, part: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    (tmp_path / f"{name}#own.txt").write_text("a file of its own")
    before = {row.source for row in read_file(path, tmp_path, 1000)}
    remove(select(tmp_path, [f"{name}#{part}"]), tmp_path)
    assert {row.source for row in read_file(path, tmp_path, 1000)} == before - {f"{name}#{part}"}
    assert file_holding(f"{name}#own.txt", tmp_path) == tmp_path / f"{name}#own.txt"
