import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import is_hidden, is_housekeeping, path_of, source_of


def test_names_that_are_not_utf8_stay_apart(tmp_path: Path) -> None:
    names = [b"caf\xe9.txt", b"caf\\xe9.txt", "café.txt".encode()]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    sources = [source_of(path, tmp_path) for path in paths]
    assert sources == [r"caf\xe9.txt", r"caf\\xe9.txt", "café.txt"]
    assert [path_of(source, tmp_path) for source in sources] == paths


@given(
    st.binary(min_size=1, max_size=12).filter(lambda name: not {0, ord("/")} & {*name} and name not in (b".", b".."))
)
def test_a_source_says_which_file_it_is(name: bytes) -> None:
    path = Path("folder") / os.fsdecode(name)
    assert path_of(source_of(path, Path("folder")), Path("folder")) == path


@given(st.text("\\xe9a0é", max_size=12).filter(bool))
def test_so_does_one_that_looks_escaped(name: str) -> None:
    assert path_of(source_of(Path("folder", name), Path("folder")), Path("folder")) == Path("folder", name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("__MACOSX/a.txt", True),
        ("a/__MACOSX/._a", True),
        ("a/.DS_Store", True),
        ("~$a.docx", True),
        (".~lock.a.odt#", True),
        ("a/Thumbs.db", True),
        ("a/desktop.ini", True),
        ("a.txt", False),
        ("my__MACOSX/a.txt", False),
        ("~a.txt", False),
    ],
)
def test_housekeeping_is_known_by_its_name(name: str, expected: bool) -> None:
    assert is_housekeeping(name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".env.txt", True),
        (".git/config.txt", True),
        ("a\\.b\\c.txt", True),
        ("Maildir/.Sent/cur/1764130980.M5P6.host", False),
        ("Maildir/.Sent/cur/.hidden", True),
        ("./a.txt", False),
        ("../a/b.txt", False),
        ("a.b/c.txt", False),
    ],
)
def test_what_is_hidden_is_known_by_its_steps(name: str, expected: bool) -> None:
    assert is_hidden(name) is expected
