"""An upgrade of a library reads again what that library read, and nothing else."""

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privllm.collect import file_index, recipe
from privllm.collect.decode import Decoded
from privllm.collect.reader_versions import DECODING, LIBRARIES, NAMES, OWN, versions_installed
from privllm.collect.readers import pdf
from privllm.collect.readers.registry import READERS
from privllm.collect.recipe import collect
from privllm.engine.programs import tesseract_version
from tests.clock import set_clock
from tests.collect.readers.test_archive import zipped
from tests.collect.test_incremental import CFG, Corpus, write_lines
from tests.pdf_files import column, pdf_of
from tests.stand_in_tesseract import install, words
from tests.workshop import ROOT

PDF = pdf_of(column(["The harbour is deep."]))
MAIL = b"""From: a@example.org
Subject: words
Message-ID: <%d@example.org>
Content-Type: multipart/mixed; boundary=b

--b

A message.
--b
Content-Type: application/pdf; name=a.pdf
Content-Disposition: attachment; filename=a.pdf

%s
--b--
"""
Upgrade = Callable[[str], None]


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Upgrade:
    """Calling it makes a library another version."""
    installed = importlib.metadata.version

    def install(library: str) -> None:
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "99" if name == library else installed(name))

    return install


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(name of the reader, source) of all that is parsed."""
    calls: list[tuple[str, str]] = []
    for reader in READERS.values():

        def read(file: Any, max_bytes: int, reader: Any = reader) -> Iterator[Any]:
            calls.append((NAMES[id(reader)], file.source))
            return type(reader).read(reader, file, max_bytes)

        monkeypatch.setattr(reader, "read", read, raising=False)
    return calls


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """Pages, lines, and PDFs: alone, in an archive, and as an attachment."""
    made = Corpus(tmp_path)
    monkeypatch.setattr(recipe, "SOURCES_INDEX", tmp_path / "sources.arrow")
    set_clock(monkeypatch, file_index, made.later)
    for index in range(20):
        (made.sources / f"page{index}.html").write_text(f"<p>page {index}")
    write_lines(made.sources / "many.jsonl", 30)
    fill(made.sources)
    return made


def fill(sources: Path) -> None:
    for number in range(3):
        (sources / f"{number}.pdf").write_bytes(PDF)
    (sources / "a.zip").write_bytes(zipped({"in.pdf": PDF, "b.html": b"<p>b", "c.txt": b"c", "bad.pdf": b"%PDF-1.7"}))
    mails = [b"From a Thu Nov 26 04:23:00 2026\n" + MAIL % (number, PDF * (number == 1) or b"x") for number in range(3)]
    (sources / "in.mbox").write_bytes(b"\n".join(mails).replace(b"filename=a.pdf", b"filename=a.txt", 1))


def test_an_upgrade_parses_again_what_the_library_parsed(
    corpus: Corpus,
    upgrade: Upgrade,
    parsed: list[tuple[str, str]],
) -> None:
    first = corpus.collect()
    files = corpus.files()
    assert len(parsed) > 30
    parsed.clear()
    upgrade("pypdfium2")
    assert corpus.collect() == first
    pdfs = {f"{number}.pdf" for number in range(3)} | {"a.zip#in.pdf", "a.zip#bad.pdf"}
    again = [source for name, source in parsed if name == "pdf"]
    assert sorted(source for source in again if ".mbox" not in source) == sorted(pdfs)
    assert [source for source in again if ".mbox" in source] == [
        "in.mbox#1@example.org/a.pdf",
        "in.mbox#2@example.org/a.pdf",
    ]
    # Containers are unpacked to find what lies in them, and a mail is parsed for its attachment; the mail without one is not.
    others = sorted((name, source) for name, source in parsed if name != "pdf")
    assert others == [
        ("archive", "a.zip"), ("mail", "in.mbox"), ("mail", "in.mbox#1@example.org"), ("mail", "in.mbox#2@example.org"),
    ]  # fmt: skip
    assert files == corpus.files() == corpus.clean()[1]
    parsed.clear()
    corpus.collect()
    assert parsed == []


def test_an_upgrade_reads_containers_inside_an_unchanged_part_again(
    corpus: Corpus, upgrade: Upgrade, parsed: list[tuple[str, str]]
) -> None:
    """Of the mail, its web archive and the page in it only the archive's reader stands on the library."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>A page of an archive.</p>"
    head = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.org/a\r\n"
    record = head + b"WARC-Record-ID: <urn:uuid:1>\r\nContent-Type: application/http; msgtype=response\r\n"
    archive = record + b"Content-Length: %d\r\n\r\n%b\r\n\r\n" % (len(page), page)
    mail = (MAIL % (7, archive)).replace(b"application/pdf", b"application/warc").replace(b"a.pdf", b"a.warc")
    (corpus.sources / "more.mbox").write_bytes(b"From a Thu Nov 26 04:23:00 2026\n" + mail)
    corpus.collect()
    archive_name = "more.mbox#7@example.org/a.warc"
    assert ("warc", archive_name) in parsed
    parsed.clear()
    upgrade("fastwarc")
    corpus.collect()
    assert [(name, source) for name, source in parsed if name == "warc"] == [("warc", archive_name)]
    assert not [source for name, source in parsed if name == "html"], "the page is the same bytes as before"
    parsed.clear()
    corpus.collect()
    assert parsed == []


@pytest.mark.parametrize(("library", "readers"), [("orjson", {"jsonl"}), ("fastwarc", set())])
def test_other_libraries_have_other_readers(
    corpus: Corpus,
    upgrade: Upgrade,
    parsed: list[tuple[str, str]],
    library: str,
    readers: set[str],
) -> None:
    corpus.collect()
    parsed.clear()
    upgrade(library)
    corpus.collect()
    assert {name for name, _ in parsed} == readers


def test_the_text_of_the_new_version_counts(
    corpus: Corpus,
    upgrade: Upgrade,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its source and bytes are those of the last run, whose text is still in the former shard."""
    corpus.collect()
    before = corpus.files()
    upgrade("pypdfium2")
    monkeypatch.setattr(pdf._Parsing, "read", lambda self, data: Decoded("What the new version reads.", "pdf"))
    report = corpus.collect()
    assert (report, corpus.files()) == corpus.clean()
    assert corpus.files() != before


# What of `collect` stands on a library apart.
STANDING_ON = {
    "decode": DECODING,
    "detect": DECODING,
    "encoding_of": DECODING,
    "MailParts": DECODING,
    "body_of": ("brotli",),
    "orjson": ("orjson",),
    "WarcRecords": ("fastwarc",),
}
PARSED_BY = {'parse("pdf"': ("pypdfium2",)}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_names_the_libraries_that_it_stands_on(name: str) -> None:
    """Read off what its module imports, or defines."""
    code = (ROOT / f"privllm/collect/readers/{name}.py").read_text("utf-8")
    imported = re.findall(r"^(?:from [\w.]+ )?import (.+)$", code, re.MULTILINE)
    names = {word for line in imported for word in line.split(", ")} | set(
        re.findall(r"^def (\w+)", code, re.MULTILINE)
    )
    used = {library for word in names & STANDING_ON.keys() for library in STANDING_ON[word]}
    used |= {library for call, libraries in PARSED_BY.items() if call in code for library in libraries}
    assert used == {*LIBRARIES.get(name, ())}


def test_a_reader_of_an_extension_may_use_any_library(upgrade: Upgrade) -> None:
    before = versions_installed()
    upgrade("fastwarc")
    now = versions_installed()
    assert {name for name in now if now[name] != before[name]} == {"warc", OWN}


def test_a_library_that_is_missing_is_a_version_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions_installed()

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert versions_installed()["pdf"] != before["pdf"]


def test_another_tesseract_reads_pdfs_again_where_it_is_asked_for(
    corpus: Corpus, parsed: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    counts = []
    for version, languages in (("5", []), ("5", ["eng"]), ("5", ["eng"]), ("6", ["eng"]), ("6", []), ("7", [])):
        install(tmp_path / "bin", words("1 90 scanned"), monkeypatch, version)
        tesseract_version.cache_clear()
        parsed.clear()
        corpus.collect(replace(CFG, ocr=languages))
        counts.append(sum(name == "pdf" for name, _ in parsed))
        assert all(name in ("pdf", "archive", "mail") for name, _ in parsed) or len(counts) == 1
    assert counts == [7, 7, 0, 7, 7, 0]


def test_without_a_store_nothing_is_remembered(corpus: Corpus, parsed: list[tuple[str, str]]) -> None:
    collect(CFG, corpus.sources, corpus.out)
    first = len(parsed)
    collect(CFG, corpus.sources, corpus.out)
    assert len(parsed) == 2 * first
