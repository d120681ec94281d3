from pathlib import Path

import pypdfium2
import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.parsed import NoText
from privllm.collect.pdf_text import pdf_text
from privllm.collect.read_file import read_file
from privllm.collect.readers import pdf
from privllm.core.errors import UserError
from tests.collect.readers.test_archive import zipped
from tests.pdf_files import column, joined, pdf_of, scanned

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


@pytest.mark.parametrize(("name", "source"), [("a.pdf", "a.pdf#scanned pages"), ("a.zip", "a.zip#b.pdf/scanned pages")])
def test_scanned_pages_among_others_are_quarantined_and_blank_ones_are_not(
    tmp_path: Path, name: str, source: str
) -> None:
    scan = scanned(pdf_of(column(["It was scanned."])), dpi=20)
    data = joined(GOOD, scan, pdf_of([]), pdf_of(column(["So are the bays."])))
    (tmp_path / name).write_bytes(data if name == "a.pdf" else zipped({"b.pdf": data}))
    document, pages = read_file(tmp_path / name, tmp_path, 1 << 20)
    assert isinstance(document, CollectedDocument)
    assert document.text == "The harbour is deep.\n\nSo are the bays."
    assert isinstance(pages, Quarantined)
    assert (pages.source, pages.reason, pages.bytes) == (source, "needs_ocr", 0)
    assert pages.detail.startswith("1 of its pages has no text layer (2): name the languages")


def test_a_small_picture_is_no_scan() -> None:
    scan = scanned(pdf_of(column(["It was scanned."])), dpi=20)
    assert pdf_text(joined(GOOD, scan)).scans == [2]
    small = scan.replace(b"q 600 0 0 800 0 0 cm", b"q 200 0 0 300 0 0 cm")
    assert pdf_text(joined(GOOD, small)).scans == []


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


def test_a_failure_that_pdfium_calls_success_is_not_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise pypdfium2.PdfiumError("Failed to load document (PDFium: Success).")

    monkeypatch.setattr(pypdfium2, "PdfDocument", fail)
    with pytest.raises(NoText) as failure:
        pdf_text(b"%PDF-")
    assert (failure.value.reason, failure.value.detail) == ("damaged", "Failed to load document.")
