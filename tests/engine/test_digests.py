"""A remembered digest is the true one, whatever was done to the file, short of setting back its clock of changes."""

import os
from hashlib import md5
from pathlib import Path

import pytest

from privllm.engine import digests as digests_module
from privllm.engine.digests import TICK_NS, Digests, digest_of, md5_of, replacing, status_of
from tests.clock import newest, pass_tick, set_clock


class DiskFull(Exception): ...


def true(path: Path) -> str:
    return md5(path.read_bytes()).hexdigest()


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is no longer fresh when its digest is saved."""
    path = tmp_path / "a"
    path.write_text("one")
    digests = Digests(tmp_path / "memory.json")
    assert digests.of(path) == true(path)
    later = newest(path) + TICK_NS + 1
    set_clock(monkeypatch, digests_module, lambda: later)
    digests.save()
    pass_tick(tmp_path)
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


@pytest.mark.parametrize(("age", "believed"), [(0, False), (TICK_NS, False), (TICK_NS + 1, True)])
def test_nothing_is_believed_of_a_file_written_in_the_tick_of_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: int, believed: bool
) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    digests = Digests(tmp_path / "memory.json")
    digests.of(path)
    set_clock(monkeypatch, digests_module, lambda: newest(path) + age)
    digests.save()
    monkeypatch.setattr(digests_module, "md5_of", lambda path: "read")
    assert Digests(tmp_path / "memory.json").of(path) == (true(path) if believed else "read")


def test_a_spoilt_memory_is_no_memory(old: Path) -> None:
    (old.parent / "memory.json").write_text('{"saved": 1, "files": [')
    assert Digests(old.parent / "memory.json").of(old) == true(old)


def test_files_that_are_gone_are_forgotten(old: Path) -> None:
    old.unlink()
    digests = Digests(old.parent / "memory.json")
    digests.save()
    assert "/a" not in (old.parent / "memory.json").read_text()


@pytest.mark.parametrize("before", [None, "before"])
@pytest.mark.parametrize("error", [DiskFull, KeyboardInterrupt])
def test_a_replacement_is_whole_or_not_there(tmp_path: Path, before: str | None, error: type[BaseException]) -> None:
    path = tmp_path / "deep/a"
    if before:
        path.parent.mkdir()
        path.write_text(before)

    def die_half_way() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            assert (path.read_text() if path.exists() else None) == before, "a reader sees what is half written"
            raise error

    with pytest.raises(error):
        die_half_way()
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == ([("a", before)] if before else [])
    with replacing(path) as partial:
        partial.write_text("whole")
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [("a", "whole")]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a").read_text() == "one"  # the last to end


def test_a_memory_whose_saving_dies_is_the_one_before(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = old.parent / "memory.json"
    before = memory.read_bytes()
    digests = Digests(memory)

    def full_disk(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text[: len(text) // 2].encode(encoding))
        raise DiskFull

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(DiskFull):
        digests.save()
    assert memory.read_bytes() == before


def test_what_was_learnt_is_believed_until_the_file_changes(old: Path) -> None:
    digests = Digests()
    digests.learn(old, "learnt", status_of(old))
    assert digests.of(old) == "learnt"
    old.write_text("longer than before")
    assert digests.of(old) == true(old)


def test_large_files_are_read_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * ((1 << 20) + 1))
    assert md5_of(tmp_path / "a") == true(tmp_path / "a")


def test_one_digest_of_files_and_folders_whatever_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "folder/a", "folder/deep/a")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))
    files, folder = paths[:2], tmp_path / "folder"
    assert digest_of(files) == digest_of(files[::-1]) != digest_of(files[:1])
    seen = {digest_of(files), digest_of([folder]), digest_of([*files, folder])}
    assert len(seen) == 3
    whole = digest_of([folder])
    (folder / "deep/a").rename(folder / "deep/b")
    assert digest_of([folder]) != whole, "a name counts"
    (folder / "deep/b").rename(folder / "deep/a")
    assert digest_of([folder]) == whole
    (folder / "deep/a").write_text("other")
    assert digest_of([folder]) != whole, "and what is in it"


def test_a_digest_of_weights_is_what_it_was_in_earlier_versions(tmp_path: Path) -> None:
    """What people said names models by it."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert digest_of([tmp_path / "model.safetensors"]) == "a798330d3dc064c5a0beddf8475b2f9f"
