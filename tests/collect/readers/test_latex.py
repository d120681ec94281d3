"""Files of LaTeX, parsed in a process of their own."""

from pathlib import Path

from privllm.collect.documents import CollectedDocument
from privllm.collect.read_file import read_file
from tests.collect.readers.test_archive import reasons_of


def test_a_file_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.tex"
    path.write_bytes("\\section{Größe}\nFüchse ruhen über Mittag, während Mäuse fürchten.".encode("cp1252"))
    (row,) = read_file(path, tmp_path, 1000)
    assert isinstance(row, CollectedDocument)
    assert (row.media_type, row.encoding) == ("text/markdown", "cp1252")
    assert row.text == "# Größe\n\nFüchse ruhen über Mittag, während Mäuse fürchten.\n"


def test_headings_inside_headings_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tex"
    path.write_text("\\section{a" * 400 + "}" * 400)
    assert reasons_of(list(read_file(path, tmp_path, 100_000))) == {"a.tex": "damaged"}


def test_a_document_without_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tex"
    path.write_text("\\documentclass{article}\n\\begin{document}\n% nothing\n\\end{document}\n")
    assert reasons_of(list(read_file(path, tmp_path, 1000))) == {"a.tex": "empty"}
