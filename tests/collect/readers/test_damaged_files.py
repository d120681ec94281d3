"""Files of every reader, damaged at random: no crash and no hang, every refusal has a reason, and nothing disappears.

`make test-all` looks for two minutes for each reader, other lanes at a few examples.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import shutil
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined
from privllm.collect.read_file import FileReading
from privllm.collect.reader_versions import NAMES
from privllm.collect.readers.registry import READERS, reader_for
from privllm.collect.recipe import CollectConfig, collect
from privllm.collect.source_file import ReadOptions, SourceFile
from privllm.core.records import document_id
from privllm.core.tables import read_table
from tests.collect.readers.test_arrow_table import TABLE, written
from tests.collect.readers.test_epub import GOOD as BOOK
from tests.collect.readers.test_notebook import CELLS
from tests.collect.readers.test_warc import answer, arc, record
from tests.collect.test_office_text import GOOD as OFFICE
from tests.collect.test_reader_versions import MAIL
from tests.conftest import NIGHTLY
from tests.manage.test_parts_of_files import mailbox, tarred
from tests.office_files import zip_of
from tests.pdf_files import column, pdf_of

SECONDS = 120  # for each reader in the nightly lane
LONGEST = 20  # seconds of one file of a few kilobytes
CFG = CollectConfig(shard_bits=0, max_megabytes=0.2, code=True)
PDF = pdf_of(column(["The harbour is deep and the ships", "are high-", "est."]), column(["Second page."], size=20))
PAGES = {"a/b.txt": b"The harbour is deep.", "c.html": b"<p>Ships <b>sail</b>.</p>", "d.csv": b"id,text\n1,one\n"}
PAGE = record(answer(b"<p>The harbour</p>" * 9)) + record(
    answer(gzip.compress(b"<p>x"), Content_Encoding="gzip"), "http://b/"
)
CRAWL = arc(("http://example.org/", answer()), ("http://example.org/b", answer(b"<p>b")))
NOTEBOOK = json.dumps({"cells": CELLS, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4}).encode()
CODE = b'"""Words."""\n\n\ndef rest(fox: int) -> int:\n    return fox + 1  # \xc3\xbc\n'
RST = b"Title\n=====\n\n.. note:: Deep\n   water.\n\n:ref:`a <b>` and ``code``.\n\n+---+---+\n| a | b |\n+---+---+\n"
TEX = (
    rb"\documentclass{article}\newcommand{\x}[1]{#1#1}\begin{document}\section{A}\x{b} $a^2$ "
    rb"\begin{itemize}\item c\end{itemize}\end{document}"
)
HTML = "<!DOCTYPE html><meta charset=utf-8><title>A</title><table><tr><td>größer<td>b</table><pre>c</pre>".encode()
SAMPLES: dict[str, dict[str, bytes]] = {  # {name of the reader: {name of a file: its bytes}}
    "html": {"a.html": HTML, "b.xhtml": HTML.decode().encode("utf-16")},
    "text": {"a.txt": "Grüße aus dem Hafen.\n".encode("latin-1") * 9, "b.md": b"# Title\n\n- one\n"},
    "jsonl": {"a.jsonl": b'{"text": "one", "id": 1}\n{"text": "two"}\n\nno\n'},
    "archive": {
        "a.zip": zip_of(PAGES | {"e.pdf": PDF, "f.zip": zip_of(PAGES)}),
        "a.tar": tarred(PAGES, "w"),
        "a.tgz": tarred(PAGES, "w:gz"),
        "a.tar.xz": tarred(PAGES, "w:xz"),
        "a.txt.gz": gzip.compress(PAGES["a/b.txt"]),
        "b.txt.bz2": bz2.compress(PAGES["a/b.txt"]),
        "c.txt.xz": lzma.compress(PAGES["a/b.txt"]),
    },
    "mail": {"a.eml": MAIL % (1, PDF), "in.mbox": mailbox(3) + b"From a Thu Nov 26 04:23:00 2026\n" + MAIL % (2, b"x")},
    "pdf": {"a.pdf": PDF},
    "office": {f"a.{kind}": OFFICE[kind] for kind in ("docx", "pptx", "xlsx", "odt")},
    "epub": {"a.epub": BOOK},
    "warc": {"a.warc": PAGE, "a.warc.gz": gzip.compress(PAGE), "a.arc": CRAWL, "a.arc.gz": gzip.compress(CRAWL)},
    "csv_table": {"a.csv": b'id,text\n1,"one, ""1"""\n2,"two\nlines"\n', "b.tsv": "key\ttext\nä\tö\n".encode("cp1252")},
    "json_file": {
        "a.json": b'[{"id": 1, "text": "one"}, "two", {"text": null}]',
        "b.json": b'{"data": [{"text": "x"}]}',
    },
    "arrow_table": {f"a.{kind}": written(TABLE, kind) for kind in ("parquet", "arrow", "feather")},
    "code": {"a.py": CODE, "b.sql": b"select 1;\n"},
    "notebook": {"a.ipynb": NOTEBOOK},
    "rst": {"a.rst": RST},
    "latex": {"a.tex": TEX},
}
ALL = [data for files in SAMPLES.values() for data in files.values()]
Edit = tuple[str, float, float, int]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "remove", "repeat", "splice", "number", "inside"]),
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, edit: Edit) -> bytes:
    """Return bytes with a place that is flipped, cut off, removed, repeated, from elsewhere, or made a large number."""
    how, place, share, value = edit
    begin = int(place * len(data))
    end = begin + 1 + int(share * share * min(len(data) - begin, 400))
    head, middle, tail = data[:begin], data[begin:end], data[end:]
    if how == "flip":
        return head + bytes(byte ^ value for byte in middle[:1]) + middle[1:] + tail
    if how == "set":
        return head + bytes([value]) * len(middle) + tail
    if how == "cut":
        return head
    if how == "remove":
        return head + tail
    if how == "repeat":
        return head + middle * (1 + value % 9) + tail
    if how == "number":
        return re.sub(rb"\d+", lambda number: number[0] + b"9" * (value % 12), data, count=1 + int(share * 9))
    if how == "inside" and data.startswith(b"PK"):
        return edited_inside(data, edit)
    other = ALL[value % len(ALL)]
    return head + other[int(share * len(other)) :][:200] + tail


def edited_inside(data: bytes, edit: Edit) -> bytes:
    """Return a ZIP of which one member was edited before it was packed."""
    _, place, share, value = edit
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members: dict[str, bytes] = {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception:  # it is damaged already
        return data
    names = list(members)
    if names:
        name = names[value % len(names)]
        hows = ("flip", "set", "cut", "remove", "repeat", "splice", "number")
        members[name] = edited(members[name], (hows[int(share * len(hows))], place, share, value))
    return zip_of(members)  # type: ignore[arg-type]


def rows_of(name: str, data: bytes) -> list[Any]:
    """Return the rows of a damaged file, each of which is a document, a refusal with a reason, or passed over."""
    file = SourceFile(name, name, data=data, options=CFG.options)
    start = time.monotonic()
    rows = [row for row, _ in FileReading(CFG.max_bytes).rows(file)]
    assert time.monotonic() - start < LONGEST
    assert rows, "the file disappeared"
    for row in rows:
        assert row.source == name or row.source.startswith((f"{name}/", f"{name}#")), row
        if isinstance(row, Quarantined):
            assert re.fullmatch("[a-z][a-z0-9_]*", row.reason), row
            assert row.detail.strip(), row
        elif isinstance(row, CollectedDocument):
            assert row.text.encode().strip(), row
            assert row.id == document_id(row.source)
        else:
            assert isinstance(row, PassedOver)
    documents = [row.id for row in rows if isinstance(row, CollectedDocument)]
    assert len(set(documents)) == len(documents)
    return rows


def law(files: list[tuple[str, bytes]]) -> None:
    """Collect damaged files beside a good one: kept, dropped and quarantined are all that was found."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "sources").mkdir()
        (folder / "sources/good.text").write_text("A good neighbour.")
        for number, (name, data) in enumerate(files):
            (folder / f"sources/{number}").mkdir()
            (folder / f"sources/{number}/{name}").write_bytes(data)
        report = collect(CFG, folder / "sources", folder / "out")
        rows = read_table(folder / "out/quarantine/quarantine.parquet").to_pylist()
        assert len(rows) == sum(report["quarantined"].values()) == report["entries"] - report["documents"]
        assert read_table(folder / "out/00000.parquet").num_rows == report["documents"]
        assert report["files"] == 1 + len(files)
        assert report["entries"] + report["ignored"] > len(files)
    finally:
        shutil.rmtree(folder)


def look(reader: str, seconds: float, examples: int = 200) -> int:
    """Look for damage that breaks the law in files of a reader, round after round; return the number of files."""
    damaged: list[tuple[str, bytes]] = []

    @given(st.sampled_from(sorted(SAMPLES[reader])), EDITS)
    @settings(
        max_examples=examples, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    def holds(name: str, edits: list[Edit]) -> None:
        data = SAMPLES[reader][name]
        for edit in edits:
            data = edited(data, edit)
        if data:
            damaged.append((name, data))
            rows_of(name, data)

    end, rounds = time.monotonic() + seconds, 0
    while not rounds or time.monotonic() < end:
        rounds += 1
        damaged.clear()
        seed(rounds)(holds)()
        law(damaged)
    return rounds * examples


@pytest.mark.seconds(SECONDS if NIGHTLY else 2)
@pytest.mark.parametrize("reader", READERS)
def test_damage_at_random(reader: str) -> None:
    look(reader, SECONDS if NIGHTLY else 0, 200 if NIGHTLY else 6)


@pytest.mark.parametrize("reader", READERS)
def test_the_samples_are_those_of_their_reader_and_whole(tmp_path: Path, reader: str) -> None:
    """Else damage would be looked for where nothing is read."""
    for name, data in SAMPLES[reader].items():
        (tmp_path / name).write_bytes(data)
        file = SourceFile.at(tmp_path / name, tmp_path, ReadOptions(code=True))
        assert NAMES[id(reader_for(file))] == reader
        rows = [row for row, _ in FileReading(CFG.max_bytes).rows(file)]
        assert any(isinstance(row, CollectedDocument) for row in rows), name
    law(list(SAMPLES[reader].items()))
