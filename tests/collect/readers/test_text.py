from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.readers.text import TextReader
from privllm.collect.source_file import SourceFile


@pytest.mark.parametrize(
    ("name", "media_type"), [("a.TXT", "text/plain"), ("b.md", "text/markdown"), (".text", "text/plain")]
)
def test_text_is_read_as_it_is(tmp_path: Path, name: str, media_type: str) -> None:
    (tmp_path / name).write_bytes("<b>é\r\n".encode("cp1252"))
    (row,) = TextReader().read(SourceFile.at(tmp_path / name, tmp_path), 1000)
    assert isinstance(row, CollectedDocument)
    assert (row.source, row.media_type, row.encoding, row.text) == (name, media_type, "cp1252", "<b>é\r\n")


def test_markdown_says_its_title(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\nauthor: Ada\n---\n# The pump\n\nIt lifts water.\n")
    (tmp_path / "a.txt").write_text("# The pump\n\nIt lifts water.\n")
    (row,) = TextReader().read(SourceFile.at(tmp_path / "a.md", tmp_path), 1000)
    assert isinstance(row, CollectedDocument)
    assert (row.title, row.author, row.date) == ("The pump", "Ada", "")
    (plain,) = TextReader().read(SourceFile.at(tmp_path / "a.txt", tmp_path), 1000)
    assert isinstance(plain, CollectedDocument)
    assert plain.title == ""


@pytest.mark.parametrize(
    ("data", "reason"), [(b" \n\t\n", "empty"), (b"\xef\xbb\xbf", "empty"), (bytes(100), "binary")]
)
def test_a_file_without_text_is_refused_with_its_digest(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    (row,) = TextReader().read(SourceFile.at(path, tmp_path), 1000)
    assert isinstance(row, Quarantined)
    assert (row.reason, row.bytes, len(row.digest)) == (reason, len(data), 32)
