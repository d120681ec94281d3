"""A remembered digest is the true one, whatever was done to the file, short of setting back its clock of changes."""

import os
import time
from hashlib import md5
from pathlib import Path

import pytest

from privllm.core import digests as digests_module
from privllm.core.digests import TICK_NS, Digests


def true(path: Path) -> str:
    return md5(path.read_bytes()).hexdigest()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that is no longer fresh when its digest is saved."""
    path = tmp_path / "a"
    path.write_text("one")
    digests = Digests(tmp_path / "memory.json")
    assert digests.of(path) == true(path)
    time.sleep(2 * TICK_NS / 1e9)
    digests.save()
    return path


def test_an_untouched_file_is_not_read_again(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests_module, "md5_of", None)
    assert Digests(old.parent / "memory.json").of(old) == true(old)


@pytest.mark.parametrize("change", ["same size, old time", "replaced", "touched", "longer"])
def test_a_changed_file_is(old: Path, change: str) -> None:
    before = old.stat()
    if change == "replaced":
        (old.parent / "b").write_text("two")
        (old.parent / "b").replace(old)
    elif change == "touched":
        old.touch()
    else:
        old.write_text("two" if change == "same size, old time" else "three")
    os.utime(old, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Digests(old.parent / "memory.json").of(old) == true(old)


def test_nothing_is_believed_of_a_file_written_in_the_tick_of_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    digests = Digests(tmp_path / "memory.json")
    digests.of(path)
    digests.save()
    monkeypatch.setattr(digests_module, "md5_of", lambda path: "read")
    assert Digests(tmp_path / "memory.json").of(path) == "read"


def test_a_spoilt_memory_is_no_memory(old: Path) -> None:
    (old.parent / "memory.json").write_text('{"saved": 1, "files": [')
    assert Digests(old.parent / "memory.json").of(old) == true(old)


def test_files_that_are_gone_are_forgotten(old: Path) -> None:
    old.unlink()
    digests = Digests(old.parent / "memory.json")
    digests.save()
    assert "/a" not in (old.parent / "memory.json").read_text()
