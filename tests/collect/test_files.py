import os
import socket
from pathlib import Path

import pytest

from privllm.collect.documents import Quarantined
from privllm.collect.files import survey

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
    (tmp_path / "~$report.docx").write_bytes(b"\x05owner")
    (tmp_path / "Thumbs.db").write_bytes(b"pictures")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "notes.txt").write_text("not a document")
    found = survey(tmp_path, LIMIT)
    assert (len(found.files), found.refused, found.ignored) == (0, [], 6)


def test_subfolders_of_a_maildir_are_read(tmp_path: Path) -> None:
    for folder in ("Maildir", "Maildir/.Sent", "Maildir/.Archive.2024"):
        for name in ("cur", "new", "tmp"):
            (tmp_path / folder / name).mkdir(parents=True)
        (tmp_path / folder / "cur" / "1764130980.M5P6.host:2,S").write_text("From: a@b\n\nwords")
    (tmp_path / ".git" / "cur").mkdir(parents=True)
    (tmp_path / ".git" / "cur" / "1764130980.M5P6.host").write_text("not a mail")
    found = survey(tmp_path, LIMIT)
    folders = ["Maildir/.Archive.2024", "Maildir/.Sent", "Maildir"]
    assert found.files["source"].to_pylist() == [f"{folder}/cur/1764130980.M5P6.host:2,S" for folder in folders]
    assert (found.refused, found.ignored) == ([], 1)


def test_a_hidden_folder_that_is_shut_hides_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".shut").mkdir()
    for name in ("a.txt", "z.txt"):
        (tmp_path / name).write_text("words")
    is_dir = Path.is_dir

    def checked(path: Path) -> bool:
        if path.parent.name == ".shut":
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", checked)
    found = survey(tmp_path, LIMIT)
    assert (found.files["source"].to_pylist(), found.refused, found.ignored) == (["a.txt", "z.txt"], [], 1)


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
    assert survey(tmp_path, LIMIT).refused == [Quarantined("shut", "", 0, "unreadable", "folder: Permission denied")]
