import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.feedback.files import append, remove_lines, select_lines
from tests.feedback.said import put, vote


def is_two(plain: Any, line: str) -> bool:
    return plain == 2


def test_lines_are_taken_out_and_the_rest_stays_byte_for_byte(tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    put(folder / "a.jsonl", "1", "2", b"\x80 2", "2", "{")
    put(folder / "deep/b.jsonl", "2")
    put(folder / "c.jsonl", "3")
    put(folder / "d.txt", "2")
    untouched = (folder / "c.jsonl").stat().st_ino
    assert remove_lines(folder, is_two) == {folder / "a.jsonl": 2, folder / "deep/b.jsonl": 1}
    assert (folder / "a.jsonl").read_bytes() == b"1\n\x80 2\n{\n"
    assert (folder / "deep/b.jsonl").read_bytes() == b""
    assert (folder / "c.jsonl").stat().st_ino == untouched
    assert (folder / "d.txt").read_bytes() == b"2\n"
    assert remove_lines(folder, is_two) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"feedback"}


def test_a_file_without_a_last_line_end_and_with_a_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "feedback").mkdir()
    (tmp_path / "feedback/a.jsonl").write_bytes(b"\xef\xbb\xbf2\n1\n2")
    assert remove_lines(tmp_path / "feedback", is_two) == {tmp_path / "feedback/a.jsonl": 2}
    assert (tmp_path / "feedback/a.jsonl").read_bytes() == b"1"


def test_a_line_that_is_no_json_is_shown_as_text(tmp_path: Path) -> None:
    put(tmp_path / "feedback/a.jsonl", "{oops", "[" * 5_000, b"\xff", " ")
    seen: list[tuple[Any, str]] = []
    select_lines(tmp_path / "feedback", lambda plain, line: bool(seen.append((plain, line))))
    assert seen == [(None, "{oops"), (None, "[" * 5_000), (None, "\ufffd")]


def test_what_a_link_of_dvc_leads_to_is_not_written_and_others_are_left_alone(tmp_path: Path) -> None:
    folder, cached = tmp_path / "feedback", tmp_path / "cache/files/md5/ab" / ("0" * 30)
    put(cached, "1", "2")
    put(tmp_path / "elsewhere.jsonl", "2")
    folder.mkdir()
    (folder / "a.jsonl").symlink_to(cached)
    (folder / "b.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    cached.chmod(0o444)
    assert remove_lines(folder, is_two) == {folder / "a.jsonl": 1}
    assert (cached.read_bytes(), (folder / "a.jsonl").read_bytes()) == (b"1\n2\n", b"1\n")
    assert (tmp_path / "elsewhere.jsonl").read_bytes() == b"2\n"


def test_nothing_is_appended_through_a_foreign_link(tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    put(tmp_path / "elsewhere.jsonl", "1")
    folder.mkdir()
    (folder / "a.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    with pytest.raises(UserError, match="is a link to elsewhere"):
        append(folder / "a.jsonl", ["2"])
    assert (folder / "a.jsonl").is_symlink()
    assert (tmp_path / "elsewhere.jsonl").read_bytes() == b"1\n"


def test_a_write_leaves_no_copy_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where it fails nor where one before it was killed; and it needs no other folder, which may be on another disk."""
    folder = tmp_path / "feedback"
    put(folder / "a.jsonl", "1")
    (folder / ".a.jsonl.partial").write_text("what somebody said")
    outside = sorted(tmp_path.iterdir())

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            append(folder / "a.jsonl", ["2"])
    assert (sorted(tmp_path.iterdir()), [path.name for path in folder.iterdir()]) == (outside, ["a.jsonl"])
    assert (folder / "a.jsonl").read_bytes() == b"1\n"


@given(st.lists(st.sampled_from(["1", "2", "{", "é\u2028"]), max_size=6), st.booleans())
def test_what_is_appended_can_be_taken_out_again(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], last: bool
) -> None:
    path = tmp_path_factory.mktemp("x") / "feedback/a.jsonl"
    put(path, *lines)
    if last and lines:
        path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    append(path, ['"new"'])
    remove_lines(path.parent, lambda plain, line: plain == "new")
    assert path.read_bytes().decode().split("\n")[:-1] == lines


def test_an_empty_folder_has_no_lines(tmp_path: Path) -> None:
    assert select_lines(tmp_path, lambda plain, line: True) == {}
    put(tmp_path / "a.jsonl", vote("eva", "q", "left"))
    (found,) = select_lines(tmp_path, lambda plain, line: plain["rater"] == "eva")
    assert found == tmp_path / "a.jsonl"
