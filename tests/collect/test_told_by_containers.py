"""What a container says of a part counts as its bytes do: an edit of only that gives what a clean build gives."""

from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.core.tables import read_table
from tests.collect.test_incremental import Corpus, corpus, zipped_bytes
from tests.office_files import epub_of

pytestmark = pytest.mark.slow

__all__ = ["corpus"]

BODY = "<title>A page</title><p>Words of the page."


def answered(kind: str, address: str = "http://e.org/a", date: str = "2020-01-01T00:00:00Z", encoding: str = "") -> str:
    coded = f"\r\nContent-Encoding: {encoding}" if encoding else ""
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}{coded}\r\n\r\n{BODY}"
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {address}\r\nWARC-Date: {date}"
    kept = "Content-Type: application/http; msgtype=response"
    return f"{head}\r\n{kept}\r\nContent-Length: {len(answer)}\r\n\r\n{answer}\r\n\r\n"


def web(*pages: str) -> bytes:
    return "".join([*pages, answered("text/html", "http://e.org/z")]).encode()


def book(metadata: str, kind: str = "application/xhtml+xml") -> bytes:
    chapters: dict[str, str | bytes] = {"a.xml": "<p>First.</p>", "b.xhtml": "<p>Second.</p>"}
    return epub_of(chapters, metadata=metadata).replace(b"application/xhtml+xml", kind.encode())


def mail(kind: str, name: str = "", charset: str = "utf-8") -> bytes:
    given = f"; filename={name}" if name else ""
    attached = f"--B\nContent-Type: {kind}\nContent-Disposition: attachment{given}\n\nSubject: s\n\nwords\n"
    text = f"--B\nContent-Type: text/plain; charset={charset}\n\nsome w\xf6rds\n"
    head = "From: a@b\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n"
    return f"{head}{text}{attached}--B--\n".encode("latin-1")


TITLE = "<dc:title>{}</dc:title>"
EDITS: dict[str, tuple[str, bytes, bytes]] = {  # name of the file, and its bytes before and after the edit
    "media type of a page": ("a.warc", web(answered("text/html")), web(answered("text/plain"))),
    "type that no reader has": ("a.warc", web(answered("text/html")), web(answered("image/png"))),
    "type of a page that is XHTML": ("a.warc", web(answered("text/html")), web(answered("application/xhtml+xml"))),
    "charset of a page": ("a.warc", web(answered("text/html")), web(answered("text/html; charset=latin-1"))),
    "address of a page": ("a.warc", web(answered("text/html")), web(answered("text/html", "http://e.org/b"))),
    "day of a page": ("a.warc", web(answered("text/html")), web(answered("text/html", date="2021-01-01T00:00:00Z"))),
    "encoding of a page": ("a.warc", web(answered("text/html")), web(answered("text/html", encoding="identity"))),
    "title of a book": ("a.epub", book(TITLE.format("Pumps")), book(TITLE.format("Valves"))),
    "title with lines": ("a.epub", book(TITLE.format("Pumps")), book(TITLE.format("Pumps  a b\nc"))),
    "author of a book": ("a.epub", book(""), book("<dc:creator>Ada</dc:creator>")),
    "day of a book": ("a.epub", book("<dc:date>2020-01-01</dc:date>"), book("<dc:date>2021-01-01</dc:date>")),
    "type of a chapter": ("a.epub", book(""), book("", "text/html")),
    "type of an attached mail": ("a.eml", mail("application/x", "m"), mail("message/rfc822", "m")),
    "charset of a mail": ("a.eml", mail("text/plain", "m.txt"), mail("text/plain", "m.txt", "latin-1")),
}


@pytest.mark.parametrize("in_zip", [False, True])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("way", [lambda before, after: (before, after), lambda before, after: (after, before)])
def test_an_edit_of_what_a_container_says_equals_a_clean_build(
    corpus: Corpus, edit: str, in_zip: bool, way: Callable[[bytes, bytes], tuple[bytes, bytes]]
) -> None:
    name, *versions = EDITS[edit]
    for data in way(*versions):
        path: Path = corpus.sources / ("held.zip" if in_zip else name)
        path.write_bytes(zipped_bytes({name: data, "z.txt": "beside"}) if in_zip else data)
        report = corpus.collect()
        assert (report, corpus.files()) == corpus.clean()


def test_of_a_book_with_another_title_no_shard_has_the_former(corpus: Corpus) -> None:
    for title in ("Pumps", "Valves"):
        (corpus.sources / "a.epub").write_bytes(book(TITLE.format(title)))
        corpus.collect()
    titles = {title for shard in corpus.out.glob("*.parquet") for title in read_table(shard)["title"].to_pylist()}
    assert titles - {""} == {"Valves"}
