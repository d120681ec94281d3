from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.readers import pdf
from privllm.core.errors import UserError
from tests.collect.readers.test_archive import zipped
from tests.pdf_files import column, pdf_of

GOOD = pdf_of(column(["The harbour is deep."]))


@pytest.mark.parametrize("name", ["a.pdf", "a.PDF", "a.txt", "a.html"])
def test_a_pdf_is_known_by_its_name_or_its_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD)
    (row,) = read_file(tmp_path / name, tmp_path, 10_000)
    assert isinstance(row, CollectedDocument)
    assert (row.source, row.media_type, row.encoding) == (name, "application/pdf", "pdf")
    assert row.text == "The harbour is deep."


def test_a_pdf_in_an_archive_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"b.pdf": GOOD}))
    (row,) = read_file(tmp_path / "a.zip", tmp_path, 10_000)
    assert row.source == "a.zip#b.pdf"


def test_a_pdf_without_text_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_of([]))
    (row,) = read_file(tmp_path / "a.pdf", tmp_path, 10_000)
    assert isinstance(row, Quarantined)
    assert row.reason == "needs_ocr"


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "LIBRARY", "pypdfium2_missing")
    (tmp_path / "a.pdf").write_bytes(GOOD)
    with pytest.raises(UserError, match=r"a\.pdf is a PDF, but the library `pypdfium2_missing` is not installed"):
        list(read_file(tmp_path / "a.pdf", tmp_path, 10_000))


def test_what_a_pdf_says_of_itself_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf_of(column(["The harbour is deep."]), title="Harbours"))
    (row,) = read_file(tmp_path / "a.pdf", tmp_path, 10_000)
    assert isinstance(row, CollectedDocument)
    assert (row.title, row.author, row.date) == ("Harbours", "", "2026-11-26")
