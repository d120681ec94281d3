from pathlib import Path

from privllm.collect.documents import CollectedDocument
from privllm.collect.read_file import read_file
from privllm.collect.readers.html import HtmlReader
from privllm.collect.source_file import SourceFile


def test_a_page_is_read_whole_and_kept_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"<meta charset=koi8-r>\r\n<p>\xf0\xf2\xe9\xf7\xe5\xf4")
    (row,) = HtmlReader().read(SourceFile.at(path, tmp_path), 1000)
    assert isinstance(row, CollectedDocument)
    assert (row.source, row.media_type, row.encoding) == ("a.html", "text/html", "koi8-r")
    assert row.text == "<meta charset=koi8-r>\r\n<p>ПРИВЕТ"


def test_what_a_page_says_of_itself_is_kept(tmp_path: Path) -> None:
    page = "<title>Pumps</title><meta name=author content=Ada><meta name=date content=2024-03-05><p>Text."
    (tmp_path / "a.html").write_text(page)
    (row,) = read_file(tmp_path / "a.html", tmp_path, 10_000)
    assert isinstance(row, CollectedDocument)
    assert (row.title, row.author, row.date) == ("Pumps", "Ada", "2024-03-05")
