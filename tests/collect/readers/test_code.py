"""Source code is read where params.yaml says so, and is refused by name where it does not."""

import io
import zipfile
from pathlib import Path

import pytest

from privllm.collect.files import survey
from privllm.collect.read_file import read_file
from privllm.collect.readers.registry import CODE_READERS, READERS, is_code, suffixes
from privllm.collect.source_file import ReadOptions
from tests.collect.readers.test_archive import reasons_of, texts_of

CODE = ReadOptions(code=True)
LINES = "def fox() -> int:\n\treturn 1\n"


@pytest.mark.parametrize(
    ("suffix", "media_type"), [(".py", "text/x-python"), (".H", "text/x-c"), (".rs", "text/x-rust")]
)
def test_code_is_read_as_it_is(tmp_path: Path, suffix: str, media_type: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(LINES)
    (row,) = read_file(path, tmp_path, 1000, options=CODE)
    assert (row.text, row.media_type) == (LINES, media_type)  # type: ignore[union-attr]


def test_code_is_found_only_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(LINES)
    assert survey(tmp_path, 1000, options=CODE).files["source"].to_pylist() == ["a.py"]
    without = survey(tmp_path, 1000)
    assert [(row.source, row.reason) for row in without.refused] == [("a.py", "code")]
    assert "collect: {code: true}" in without.refused[0].detail


def test_code_in_an_archive_too(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.py", LINES)
    path = tmp_path / "a.zip"
    path.write_bytes(made.getvalue())
    assert reasons_of(list(read_file(path, tmp_path, 1000))) == {"a.zip#a.py": "code"}
    assert texts_of(list(read_file(path, tmp_path, 1000, options=CODE))) == {"a.zip#a.py": LINES}


def test_readers_of_code_are_those_two() -> None:
    assert [reader for reader in READERS.values() if is_code(reader)] == CODE_READERS
    assert ".py" not in suffixes().split()
