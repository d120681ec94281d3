import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.files import Document, Refused, path_of, read_file, source_of, survey

LIMIT = 1000


def test_files_are_found_at_any_depth_whatever_the_case_of_their_suffix(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for path in (tmp_path / "z.TXT", deep / "x.Html", tmp_path / "a" / "y.md"):
        path.write_text("words")
    found = survey(tmp_path, LIMIT)
    assert found.files["source"].to_pylist() == ["a/b/c/x.Html", "a/y.md", "z.TXT"]
    assert (found.refused, found.ignored) == ([], 0)


def test_two_hundred_folders_deep(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "bottom.txt").write_text("words")
    assert survey(tmp_path, LIMIT).files["source"].to_pylist() == ["d/" * 200 + "bottom.txt"]


def test_housekeeping_is_counted_not_read(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "notes.txt").write_text("not a document")
    (tmp_path / ".gitignore").write_text("*")
    (tmp_path / "big.dvc").write_text("outs:")
    found = survey(tmp_path, LIMIT)
    assert (len(found.files), found.refused, found.ignored) == (0, [], 3)


def test_every_refusal_has_its_reason(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("another's secret")
    sources = tmp_path / "sources"
    (sources / "folder").mkdir(parents=True)
    (sources / "movie.mp4").write_bytes(b"x")
    (sources / "README").write_bytes(b"x")
    (sources / "long.txt").write_bytes(b"x" * (LIMIT + 1))
    (sources / "none.txt").touch()
    (sources / "leak.txt").symlink_to(outside)
    (sources / "lost.txt").symlink_to(sources / "nowhere")
    (sources / "round.txt").symlink_to(sources / "round.txt")
    (sources / "loop").symlink_to(sources)
    os.mkfifo(sources / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(sources / "s.txt"))
    found = survey(sources, LIMIT)
    assert len(found.files) == 0
    assert {row.source: row.reason for row in found.refused} == {
        "movie.mp4": "unsupported",
        "README": "unsupported",
        "long.txt": "too_large",
        "none.txt": "empty",
        "leak.txt": "link_outside",
        "lost.txt": "dangling_link",
        "round.txt": "dangling_link",
        "loop": "linked_folder",
        "pipe.txt": "not_a_file",
        "s.txt": "not_a_file",
    }


def test_links_within_the_sources_and_into_dvcs_cache_are_read(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "files" / "md5" / "ab" / ("0" * 30)
    cached.parent.mkdir(parents=True)
    cached.write_text("tracked")
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.txt").write_text("words")
    (sources / "b.txt").symlink_to("a.txt")
    (sources / "c.txt").symlink_to(cached)
    found = survey(sources, LIMIT)
    assert found.files["source"].to_pylist() == ["a.txt", "b.txt", "c.txt"]


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shut").mkdir()
    listing = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert survey(tmp_path, LIMIT).refused == [Refused("shut", "", 0, "unreadable", "folder: Permission denied")]


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert read_file(path, tmp_path) == Refused("a.txt", "", 5, "unreadable", "Permission denied")


def test_names_that_are_not_utf8_stay_apart(tmp_path: Path) -> None:
    names = [b"caf\xe9.txt", b"caf\\xe9.txt", "café.txt".encode()]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    sources = [source_of(path, tmp_path) for path in paths]
    assert sources == [r"caf\xe9.txt", r"caf\\xe9.txt", "café.txt"]
    assert [path_of(source, tmp_path) for source in sources] == paths


@given(st.binary(min_size=1, max_size=12).filter(lambda name: not {0, ord("/")} & {*name} and name not in (b".", b"..")))
def test_a_source_says_which_file_it_is(name: bytes) -> None:
    path = Path("folder") / os.fsdecode(name)
    assert path_of(source_of(path, Path("folder")), Path("folder")) == path


@given(st.text("\\xe9a0é", max_size=12).filter(bool))
def test_so_does_one_that_looks_escaped(name: str) -> None:
    assert path_of(source_of(Path("folder", name), Path("folder")), Path("folder")) == Path("folder", name)


def test_a_page_is_read_whole_and_kept_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"<meta charset=koi8-r>\r\n<p>\xf0\xf2\xe9\xf7\xe5\xf4")
    row = read_file(path, tmp_path)
    assert isinstance(row, Document)
    assert (row.source, row.media_type, row.encoding) == ("a.html", "text/html", "koi8-r")
    assert row.text == "<meta charset=koi8-r>\r\n<p>ПРИВЕТ"


@pytest.mark.parametrize(("data", "reason"), [(b" \n\t\n", "empty"), (b"\xef\xbb\xbf", "empty"), (bytes(100), "binary")])
def test_a_file_without_text_is_refused_with_its_digest(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    row = read_file(path, tmp_path)
    assert isinstance(row, Refused)
    assert (row.reason, row.bytes, len(row.digest)) == (reason, len(data), 32)
