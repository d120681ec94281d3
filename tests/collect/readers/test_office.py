from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.office_text import OLD, OLE
from privllm.collect.read_file import read_file
from tests.collect.test_office_text import GOOD
from tests.office_files import zip_of

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize("name", ["a.docx", "a.DOCX", "a.docm", "a.txt", "a.zip", "a.xlsx", "a.epub"])
def test_an_office_document_is_known_by_its_parts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD["docx"])
    (row,) = read_file(tmp_path / name, tmp_path, 10_000)
    assert isinstance(row, CollectedDocument)
    assert (row.source, row.media_type, row.encoding, row.text) == (name, WORD, "docx", "Deep.")


@pytest.mark.parametrize(("kind", "text"), [("pptx", "Deep."), ("xlsx", "## Sheet1\n\n12"), ("odt", "Deep.")])
def test_each_kind_is_read(tmp_path: Path, kind: str, text: str) -> None:
    (tmp_path / f"a.{kind}").write_bytes(GOOD[kind])
    (row,) = read_file(tmp_path / f"a.{kind}", tmp_path, 10_000)
    assert isinstance(row, CollectedDocument)
    assert row.text == text


def test_one_in_an_archive_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of({"b.docx": GOOD["docx"], "c.doc": OLE + bytes(100)}))
    document, old = read_file(tmp_path / "a.zip", tmp_path, 10_000)
    assert document.source == "a.zip#b.docx"
    assert isinstance(old, Quarantined)
    assert (old.reason, old.detail) == ("unsupported", OLD)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.docx", zip_of({"a.txt": "words"}), "damaged"),
        ("a.docx", GOOD["docx"][:500], "damaged"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "unsupported"),
        ("a.txt", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "unsupported"),
        ("a.ods", GOOD["ods"], "empty"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    (row,) = read_file(tmp_path / name, tmp_path, 10_000)
    assert isinstance(row, Quarantined)
    assert row.reason == reason


def test_one_that_is_called_an_archive_is_within_the_limit_of_documents(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(GOOD["docx"])
    (row,) = read_file(tmp_path / "a.zip", tmp_path, 100)
    assert isinstance(row, Quarantined)
    assert row.reason == "too_large"
