"""Scanned pages: what tesseract reads, and what becomes of a page on which it fails."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from privllm.collect import ocr, parser_process
from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.ocr import OcrLine, lines_of_image
from privllm.collect.parsed import NoText
from privllm.collect.pdf_text import pdf_text
from privllm.collect.read_file import read_file
from privllm.collect.source_file import ReadOptions
from tests.pdf_files import column, joined, pdf_of, scanned
from tests.stand_in_tesseract import install, needs_tesseract, words

PAGE = column(
    ["The harbour is deep and the ships are", "large. They sail at dawn when the tide is high-", "est."], size=14
)
SCAN = scanned(pdf_of(PAGE))
TREES = ("birch", "cedar", "larch", "maple", "willow")
PLACES = ("gate", "wall", "church", "water", "road")
ENGLISH = ReadOptions(ocr=("eng",))


@pytest.fixture(autouse=True)
def _no_child_stays() -> Iterator[None]:
    """The process of the parsers keeps the PATH with which it was started."""
    end_child()
    yield
    end_child()


def end_child() -> None:
    if child := parser_process._child:
        child.process.kill()
        child.process.wait()


@needs_tesseract
def test_a_scanned_page_is_read() -> None:
    assert (
        pdf_text(SCAN, ["eng"]).text
        == "The harbour is deep and the ships are large. They sail at dawn when the tide is highest."
    )


@pytest.mark.slow
@needs_tesseract
def test_pages_with_text_are_not_read_by_it_and_their_size_is_the_measure() -> None:
    """So what was scanned becomes no heading, and running headers go on all pages."""
    sentences = [f"The {tree} stands by the {place}." for tree, place in zip(TREES, PLACES, strict=True)]
    pages = [[(50, 760, 14, "Harbour report"), *column([sentence], size=14)] for sentence in sentences]
    mixed = joined(pdf_of(*pages[:3]), scanned(pdf_of(*pages[3:])))
    assert pdf_text(mixed, ["eng"]).text == "\n\n".join(sentences)
    assert pdf_text(mixed).text == "\n\n".join(sentences[:3])


@needs_tesseract
def test_a_scan_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(SCAN)
    (refused,) = read_file(tmp_path / "a.pdf", tmp_path, 1 << 24)
    assert isinstance(refused, Quarantined)
    assert refused.reason == "needs_ocr"
    assert "collect.ocr" in refused.detail
    (document,) = read_file(tmp_path / "a.pdf", tmp_path, 1 << 24, options=ENGLISH)
    assert isinstance(document, CollectedDocument)
    assert document.text.startswith("The harbour is deep")


def test_an_empty_page_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, words(), monkeypatch)
    with pytest.raises(NoText) as refusal:
        pdf_text(SCAN, ["eng"])
    assert (refusal.value.reason, refusal.value.detail) == ("empty", "tesseract finds no text on its 1 pages")


def test_words_become_lines_and_stains_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, words("1 96.5 The", "1 91 harbour", "2 29.9 ~", "2 30 is", "3 -1 x"), monkeypatch)
    assert lines_of_image(b"P5 1 1 255\n ", ["eng"], 1) == [
        OcrLine("The harbour", 0, 150, 180, 190), OcrLine("is", 300, 200, 380, 240),
    ]  # fmt: skip


def test_it_is_called_without_a_shell_and_with_little_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, f'cat > /dev/null; env > {tmp_path}/env; echo "$@" > {tmp_path}/words', monkeypatch)
    monkeypatch.setenv("SECRET", "1")
    assert lines_of_image(b"P5", ["eng", "$(touch x)"], 1) == []
    assert (tmp_path / "words").read_text() == "stdin stdout --dpi 300 -l eng+$(touch x) tsv\n"
    environment = (tmp_path / "env").read_text()
    assert "OMP_THREAD_LIMIT=1" in environment
    assert "SECRET" not in environment


@pytest.mark.parametrize(
    ("script", "reason", "detail"),
    [
        ("cat > /dev/null; echo no such language >&2; exit 1", "ocr_failed", "tesseract ended with code 1 on page 1: no such language"),
        ("kill -SEGV $$", "ocr_failed", "tesseract ended with code -11 on page 1"),
        ("exec sleep 60", "too_slow", "tesseract needs over 0.5 seconds for page 1"),
    ],
)  # fmt: skip
def test_a_failure_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str, detail: str
) -> None:
    install(tmp_path, script, monkeypatch)
    monkeypatch.setattr(ocr, "PAGE_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(NoText) as refusal:
        pdf_text(SCAN, ["eng"])
    assert (refusal.value.reason, refusal.value.detail) == (reason, detail)
    assert time.monotonic() - start < 10


def test_a_crash_in_the_process_of_the_parsers_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    install(tmp_path / "bin", "kill -SEGV $$", monkeypatch)
    for name in ("a.pdf", "b.pdf"):
        (tmp_path / name).write_bytes(SCAN if name == "a.pdf" else pdf_of(PAGE))
    (refused,) = read_file(tmp_path / "a.pdf", tmp_path, 1 << 24, options=ENGLISH)
    assert isinstance(refused, Quarantined)
    assert refused.reason == "ocr_failed"
    (document,) = read_file(tmp_path / "b.pdf", tmp_path, 1 << 24, options=ENGLISH)
    assert isinstance(document, CollectedDocument)


def test_it_is_gone_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(NoText, match="tesseract cannot be started"):
        pdf_text(SCAN, ["eng"])
