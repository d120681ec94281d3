"""Files whose bytes are of another format than their names say: read by their bytes, or refused by the name of what they are."""

import gzip
import json
from email.message import EmailMessage
from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.kinds_by_bytes import OTHER_KINDS, is_page, other_kind
from privllm.collect.office_text import OLE
from privllm.collect.read_file import read_file
from tests.collect.readers.test_archive import zipped
from tests.collect.readers.test_damaged_files import SAMPLES

SUFFIXES = (
    ".txt",
    ".html",
    ".doc",
    ".docx",
    ".xls",
    ".pdf",
    ".zip",
    ".epub",
    ".gz",
    ".csv",
    ".json",
    ".rtf",
    ".parquet",
)
BINARY = {name: data for reader in ("pdf", "office", "epub") for name, data in SAMPLES[reader].items()}
TEXT = "The harbour is deep, and two piers protect the boats from the wind."
PAGE = f"<!DOCTYPE html>\n<html><head><title>On piers</title></head><body><p>{TEXT}</p></body></html>".encode()
MAILBOX = f"From ada@isle.example Thu Nov 26 04:23:00 2026\nFrom: ada@isle.example\nSubject: Piers\n\n{TEXT}\n".encode()


def texts_of(folder: Path, name: str, data: bytes) -> set[str]:
    (folder / name).write_bytes(data)
    return {row.text for row in read_file(folder / name, folder, 1 << 20) if isinstance(row, CollectedDocument)}


def refusal_of(folder: Path, name: str, data: bytes) -> tuple[str, str]:
    (folder / name).write_bytes(data)
    (row,) = read_file(folder / name, folder, 1 << 20)
    assert isinstance(row, Quarantined)
    return row.reason, row.detail


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", BINARY)
def test_a_binary_file_is_read_whatever_it_is_called(tmp_path: Path, name: str, suffix: str) -> None:
    wanted = texts_of(tmp_path, f"a{Path(name).suffix}", BINARY[name])
    assert wanted
    assert texts_of(tmp_path, f"b{suffix}", BINARY[name]) == wanted


@pytest.mark.parametrize("suffix", [".doc", ".xls", ".rtf", ".docx", ".pdf", ".html", ".epub", ".zip"])
def test_a_page_is_read_whatever_it_is_called(tmp_path: Path, suffix: str) -> None:
    assert texts_of(tmp_path, f"a{suffix}", PAGE) == {PAGE.decode()}


@pytest.mark.parametrize(("name", "data"), [("a.txt", MAILBOX), ("a.text", MAILBOX)])
def test_a_mailbox_is_read_that_is_called_a_text(tmp_path: Path, name: str, data: bytes) -> None:
    (text,) = texts_of(tmp_path, name, data)
    assert text.startswith("Piers")
    assert "ada@" not in text
    (letter,) = texts_of(tmp_path, "b.txt", f"From the harbour we saw 2026 boats.\n{TEXT}".encode())
    assert letter.startswith("From the harbour")


@pytest.mark.parametrize("suffix", [".txt", ".html", ".doc", ".rtf", ".pdf", ".gz", ".csv"])
def test_an_archive_is_read_whatever_it_is_called(tmp_path: Path, suffix: str) -> None:
    assert texts_of(tmp_path, f"a{suffix}", zipped({"b.txt": TEXT.encode()})) == {TEXT}


@pytest.mark.parametrize("suffix", [".docx", ".epub"])
def test_an_archive_that_is_called_a_document_says_what_it_lacks(tmp_path: Path, suffix: str) -> None:
    reason, detail = refusal_of(tmp_path, f"a{suffix}", zipped({"b.txt": TEXT.encode()}))
    assert reason == "damaged"
    assert "without" in detail or "lacks" in detail


def test_a_text_is_read_that_is_called_an_old_document(tmp_path: Path) -> None:
    assert texts_of(tmp_path, "a.doc", TEXT.encode()) == {TEXT}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("first", OTHER_KINDS)
def test_a_format_that_nobody_reads_is_named(tmp_path: Path, first: bytes, suffix: str) -> None:
    data = first + bytes(range(256)) * 4
    assert refusal_of(tmp_path, f"a{suffix}", data) == ("unsupported", f"by its bytes it is {OTHER_KINDS[first]}")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("WordDocument", ".docx"),
        ("Workbook", ".xlsx"),
        ("PowerPoint Document", ".pptx"),
        ("__nameid_version1.0", ".eml"),
        ("", "2007"),
    ],
)
@pytest.mark.parametrize("suffix", [".doc", ".xls", ".ppt", ".docx", ".txt", ".eml", ".zip"])
def test_an_old_office_file_says_what_it_is(tmp_path: Path, name: str, word: str, suffix: str) -> None:
    reason, detail = refusal_of(tmp_path, f"a{suffix}", OLE + bytes(600) + name.encode("utf-16-le") + bytes(600))
    assert reason == "unsupported"
    assert word in detail


def test_books_and_xml_of_office_are_named() -> None:
    assert "Mobipocket" in other_kind(bytes(60) + b"BOOKMOBI")
    assert "Word 2003" in other_kind(b'<?xml version="1.0"?>\n<?mso-application progid="Word.Document"?>')
    assert not other_kind(PAGE)
    assert not is_page(b"A text on <html> and its elements.")


def test_what_lies_in_archives_is_known_by_its_bytes_too(tmp_path: Path) -> None:
    data = zipped({"a.doc": PAGE, "b.doc": b"{\\rtf1 Ahoy}"})
    (tmp_path / "a.zip").write_bytes(data)
    page, rtf = read_file(tmp_path / "a.zip", tmp_path, 1 << 20)
    assert isinstance(page, CollectedDocument)
    assert isinstance(rtf, Quarantined)
    assert "RTF" in rtf.detail
    assert texts_of(tmp_path, "b.json", gzip.compress(json.dumps([{"text": TEXT}]).encode())) == {TEXT}


def test_an_attachment_of_outlook_is_named(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"] = "Piers"
    mail.set_content(TEXT)
    mail.add_attachment(b"\x78\x9f\x3e\x22" + bytes(100), "application", "ms-tnef", filename="winmail.dat")
    (tmp_path / "a.eml").write_bytes(mail.as_bytes())
    letter, attached = read_file(tmp_path / "a.eml", tmp_path, 1 << 20)
    assert isinstance(letter, CollectedDocument)
    assert isinstance(attached, Quarantined)
    assert (attached.source, attached.reason) == ("a.eml#winmail.dat", "unsupported")
    assert "TNEF" in attached.detail
