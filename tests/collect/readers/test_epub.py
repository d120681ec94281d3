"""Books: chapters in the order of the spine, and what is left out or refused."""

import io
import posixpath
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.readers import epub
from privllm.collect.readers.registry import READERS
from privllm.collect.source_file import SourceFile
from tests.office_files import ODF, epub_of, zip_of

LIMIT = 10_000
CHAPTERS: dict[str, str | bytes] = {"text/b.xhtml": "<p>First.</p>", "text/a.xhtml": "<p>Second.</p>"}
GOOD = epub_of(CHAPTERS)


def rows_of(tmp_path: Path, data: bytes, name: str = "a.epub") -> list[CollectedDocument | Quarantined]:
    (tmp_path / name).write_bytes(data)
    return list(read_file(tmp_path / name, tmp_path, LIMIT))


def sources_of(rows: list[CollectedDocument | Quarantined]) -> list[str]:
    return [row.source for row in rows if isinstance(row, CollectedDocument)]


def reasons_of(rows: list[CollectedDocument | Quarantined]) -> dict[str, str]:
    return {row.source: row.reason for row in rows if isinstance(row, Quarantined)}


METADATA = (
    "<dc:title>Pumps</dc:title><dc:title>A history</dc:title><dc:date>2020-05-01T00:00:00Z</dc:date>"
    '<dc:creator>Ada Lovelace</dc:creator><dc:creator opf:role="aut">Mary Somerville</dc:creator>'
    '<dc:creator opf:role="ill">A painter</dc:creator><dc:creator>Ada Lovelace</dc:creator>'
)


@pytest.mark.parametrize("metadata", [METADATA, f"<dc-metadata>{METADATA}</dc-metadata>"])
def test_chapters_have_what_the_book_says_where_they_say_nothing(tmp_path: Path, metadata: str) -> None:
    chapters: dict[str, str | bytes] = {
        "a.xhtml": "<p>First.</p>",
        "b.xhtml": "<head><title>Valves</title><meta name='author' content='B. Co'/></head><p>Second.</p>",
    }
    rows = rows_of(tmp_path, epub_of(chapters, metadata=metadata))
    told = [(row.title, row.author, row.date) for row in rows if isinstance(row, CollectedDocument)]
    assert told == [("Pumps", "Ada Lovelace, Mary Somerville", "2020-05-01"), ("Valves", "B. Co", "2020-05-01")]


def test_a_book_that_says_nothing_has_chapters_that_do_not(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, epub_of(CHAPTERS, metadata="<dc:date>last May</dc:date><dc:creator> </dc:creator>"))
    assert {(row.title, row.author, row.date) for row in rows if isinstance(row, CollectedDocument)} == {("", "", "")}


@pytest.mark.parametrize("name", ["a.epub", "a.zip", "a.txt"])
def test_chapters_are_pages_in_the_order_of_the_spine(tmp_path: Path, name: str) -> None:
    rows = rows_of(tmp_path, GOOD, name)
    assert sources_of(rows) == [f"{name}#OEBPS/text/b.xhtml", f"{name}#OEBPS/text/a.xhtml"]
    assert [row.text for row in rows if isinstance(row, CollectedDocument)] == ["<p>First.</p>", "<p>Second.</p>"]
    assert {row.media_type for row in rows if isinstance(row, CollectedDocument)} == {"text/html"}


def test_a_page_is_known_by_its_type_whatever_its_name(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, epub_of({"chapter 1.xml": "<p>a</p>", "chapter2": "<p>b</p>"}))
    assert sources_of(rows) == ["a.epub#OEBPS/chapter 1.xml", "a.epub#OEBPS/chapter2"]


def test_the_table_of_contents_and_pictures_are_left_out(tmp_path: Path) -> None:
    items = (
        '<item id="n" href="n.xhtml" media-type="application/xhtml+xml" properties="nav"/><item id="p" href="p.png"/>'
    )
    rows = rows_of(tmp_path, epub_of(CHAPTERS, items, '<itemref idref="n"/><itemref idref="c0"/>'))
    assert sources_of(rows) == ["a.epub#OEBPS/text/b.xhtml", "a.epub#OEBPS/text/a.xhtml"]


def test_a_chapter_that_is_missing_or_too_large_costs_itself(tmp_path: Path) -> None:
    items = '<item id="x" href="x.xhtml" media-type="application/xhtml+xml"/>'
    made = epub_of({**CHAPTERS, "large.xhtml": "a" * (LIMIT + 1)}, items, '<itemref idref="x"/>')
    rows = rows_of(tmp_path, made)
    assert len(sources_of(rows)) == 2
    assert reasons_of(rows) == {"a.epub#OEBPS/x.xhtml": "damaged", "a.epub#OEBPS/large.xhtml": "too_large"}


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("text/B.xhtml", "text/b.XHTML"),
        ("text/b%20c.xhtml", "text/b c.xhtml"),
        ("text/b%20c.xhtml", "text/b%20c.xhtml"),
        ("text/b c.xhtml", "text/b%20c.xhtml"),
        ("text/b.xhtml#start", "text/b.xhtml"),
        ("text\\b.xhtml", "text/b.xhtml"),
        ("/OEBPS/text/b.xhtml", "text/b.xhtml"),
        ("texts/b.xhtml", "text/b.xhtml"),
        ("b.xhtml", "../b.xhtml"),
    ],
)
def test_a_chapter_is_found_whose_name_is_written_otherwise(tmp_path: Path, written: str, part: str) -> None:
    item = f'<item id="x" href="{written}" media-type="application/xhtml+xml"/>'
    members = members_of(epub_of({}, item, '<itemref idref="x"/>'))
    rows = rows_of(tmp_path, zip_of({**members, posixpath.normpath(f"OEBPS/{part}"): "<p>First.</p>"}))
    assert [row.text for row in rows if isinstance(row, CollectedDocument)] == ["<p>First.</p>"]
    assert not reasons_of(rows)


def members_of(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("OEBPS/book.opf", 'idref="c1"', 'idref="x"'),
        ("OEBPS/book.opf", "itemref", "itemreference"),
        ("OEBPS/book.opf", "</package>", ""),
        ("META-INF/container.xml", "</container>", ""),
    ],
)
def test_all_pages_of_a_book_are_read_whose_lists_are_damaged(tmp_path: Path, part: str, old: str, new: str) -> None:
    members = members_of(GOOD)
    text = members[part]
    assert old in text
    rows = rows_of(tmp_path, zip_of({**members, part: text.replace(old, new)}))
    assert {row.text for row in rows if isinstance(row, CollectedDocument)} == {"<p>First.</p>", "<p>Second.</p>"}
    assert reasons_of(rows) == {"a.epub": "damaged"}


def test_a_book_is_read_without_the_list_of_its_lists(tmp_path: Path) -> None:
    members = members_of(GOOD)
    moved = members["META-INF/container.xml"].replace("book.opf", "lost.opf")
    for container in (moved, '<container xmlns="urn:x"/>'):
        rows = rows_of(tmp_path, zip_of({**members, "META-INF/container.xml": container}))
        assert len(sources_of(rows)) == 2
        assert not reasons_of(rows)


ENCRYPTED = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:e="http://www.w3.org/2001/04/xmlenc#">'
    '<e:EncryptedData><e:EncryptionMethod Algorithm="{}"/></e:EncryptedData></encryption>'
)


def test_a_protected_book_is_refused_and_one_with_protected_fonts_is_read(tmp_path: Path) -> None:
    protected = ENCRYPTED.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")
    assert reasons_of(rows_of(tmp_path, epub_of(CHAPTERS, encryption=protected))) == {"a.epub": "encrypted"}
    fonts = ENCRYPTED.format("http://www.idpf.org/2008/embedding")
    assert len(sources_of(rows_of(tmp_path, epub_of(CHAPTERS, encryption=fonts)))) == 2


ROOT = "<rootfiles><rootfile full-path='b.opf'/></rootfiles>"
CONTAINER = f'<container xmlns="{ODF}container">{ROOT}</container>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (epub_of({}), "empty"),
        (zip_of({"META-INF/container.xml": "<a/>"}), "damaged"),
        (zip_of({"META-INF/container.xml": CONTAINER}), "damaged"),
        (zip_of({"a.txt": "words"}), "damaged"),
        (
            zip_of({"META-INF/container.xml": CONTAINER, "b.opf": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}),
            "unsafe_xml",
        ),
        (GOOD[:300], "damaged"),
    ],
)
def test_what_is_no_book_says_why(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reasons_of(rows_of(tmp_path, data)) == {"a.epub": reason}


def test_lists_that_are_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epub, "MAX_LISTS", 300)
    assert reasons_of(rows_of(tmp_path, GOOD)) == {"a.epub": "too_large"}


def test_a_changed_chapter_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    before = {row.source: row.digest for row in rows_of(tmp_path, GOOD)}
    after = {row.source: row.digest for row in rows_of(tmp_path, epub_of({"new.xhtml": "<p>x</p>", **CHAPTERS}))}
    assert before.items() < after.items()


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_changed_bytes_give_chapters_or_a_reason(edits: list[tuple[int, int]]) -> None:
    changed = bytearray(GOOD)
    for place, value in edits:
        changed[place] = value
    assert list(READERS["epub"].read(SourceFile("a.epub", "a.epub", data=bytes(changed)), LIMIT))
