"""What every reader promises, so that a new one is tested by standing in READERS."""

import re
from pathlib import Path
from random import Random

import pytest

from privllm.collect.documents import Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.readers.reader import Reader
from privllm.collect.readers.registry import READER_BY_SUFFIX, READERS, media_type, reader_of, why_not_read

SUFFIXES = [(reader, suffix) for reader in READERS.values() for suffix in reader.media_types]


@pytest.mark.parametrize(("reader", "suffix"), SUFFIXES)
def test_a_suffix_belongs_to_one_reader(reader: Reader, suffix: str) -> None:
    assert re.fullmatch(r"\.[a-z0-9.]+", suffix)
    assert READER_BY_SUFFIX[suffix] is reader_of(f"folder.txt/name{suffix.upper()}") is reader


@pytest.mark.parametrize("name", READERS)
def test_a_reader_has_a_module_of_its_own(name: str) -> None:
    assert type(READERS[name]).__module__ == f"privllm.collect.readers.{name}"


@pytest.mark.parametrize(("reader", "suffix"), SUFFIXES)
@pytest.mark.parametrize("data", [b"", b" \n\n ", bytes(100), Random(1).randbytes(100)])
def test_a_file_without_documents_is_refused_with_a_reason(
    tmp_path: Path, reader: Reader, suffix: str, data: bytes
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    rows = list(read_file(path, tmp_path, 1000))
    assert rows
    for row in rows:
        assert isinstance(row, Quarantined)
        assert row.source.partition("#")[0] == path.name
        assert re.fullmatch("[a-z_]+", row.reason)
        assert row.detail


@pytest.mark.parametrize("suffix", READER_BY_SUFFIX)
def test_a_file_that_is_gone_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    expected = Quarantined(path.name, "", 0, "unreadable", "No such file or directory")
    assert list(read_file(path, tmp_path, 1000)) == [expected]


def test_other_formats_have_no_reader() -> None:
    for name in ("movie.mp4", "README", "txt", "folder.txt/notes", ""):
        assert reader_of(name) is media_type(name) is None


def test_a_format_that_is_not_read_says_what_to_do() -> None:
    assert why_not_read("folder.txt/table.XLSB") == ".xlsb: save it as .xlsx"
    assert why_not_read("movie.mp4").startswith(".mp4: the suffixes read are .html ")
    assert why_not_read("README").startswith("no suffix: ")
