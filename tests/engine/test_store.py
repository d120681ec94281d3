"""The store: what is made once is not made again, what changes is, and what comes back has the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from privllm.engine.actions import Identity, action_path, move_files, perform
from privllm.engine.cache import Cache
from privllm.engine.digests import TICK_NS, Digests, md5_of
from privllm.engine.executor import files_in
from privllm.engine.store import Before, Store, Unkeyed


@dataclass
class Config:
    factor: int = 2


def shout(out: Path, cfg: Config, source: Path, calls: Unkeyed) -> dict[str, int]:
    """`source` in capitals, as often as `cfg` says; a line in `calls` tells that it ran."""
    text = source.read_text().upper() * cfg.factor
    (out / "deep").mkdir()
    (out / source.name).write_text(text)
    (out / "deep" / source.name).write_text(text[::-1])
    with calls.value.open("a") as log:
        log.write(f"{source.name}\n")
    return {"characters": len(text)}


def whisper(out: Path, cfg: Config, source: Path, calls: Unkeyed) -> dict[str, int]:
    return shout(out, cfg, source, calls)


def shout_nested(out: Path, places: object, source: Path, calls: Unkeyed) -> dict[str, int]:
    return shout(out, Config(), source, calls)


class Bench:
    """A folder with three sources, and a store over a cache in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, root / "calls"
        self.cache = Cache(root / "cache", ("copy",))
        (root / "in").mkdir()
        for name in "abc":
            (root / "in" / name).write_text(f"text {name}")
        self.calls.touch()

    def map(
        self,
        function: object = shout,
        cfg: Config | None = None,
        code: str = "1",
        cache: Cache | None = None,
        borrow: bool = False,
    ) -> list[dict]:
        store = Store(cache or self.cache, code, Digests(self.root / "digests.json"))
        shutil.rmtree(self.root / "out", ignore_errors=True)
        jobs = [(cfg or Config(), path, Unkeyed(self.calls)) for path in sorted((self.root / "in").iterdir())]
        return store.map(function, jobs, self.root / "out", "shout", borrow=borrow)  # type: ignore[arg-type]

    def ran(self) -> str:
        """The sources that were worked on since the last question."""
        names = "".join(sorted(self.calls.read_text().split()))
        self.calls.write_text("")
        return names

    def files(self) -> dict[str, str]:
        out = self.root / "out"
        return {path.relative_to(out).as_posix(): path.read_text() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_is_known_is_not_made_again_and_has_the_same_bytes(bench: Bench) -> None:
    results = bench.map()
    assert bench.ran() == "abc"
    files = bench.files()
    assert files["a"] == "TEXT ATEXT A"
    assert (bench.map(), bench.files()) == (results, files)
    assert bench.ran() == ""
    assert not list(bench.root.rglob("*.partial"))
    assert not (bench.root / "out/.scratch").exists()


def test_only_what_changed_is_made(bench: Bench) -> None:
    bench.map()
    bench.ran()
    (bench.root / "in/b").write_text("other b")
    (bench.root / "in/d").write_text("text d")
    (bench.root / "in/c").unlink()
    os.utime(bench.root / "in/a", (1, 1))
    bench.map()
    assert bench.ran() == "bd"
    assert set(bench.files()) == {"a", "b", "d", "deep/a", "deep/b", "deep/d"}


@pytest.mark.parametrize("change", [{"function": whisper}, {"cfg": Config(3)}, {"code": "2"}])
def test_function_parameters_and_code_are_part_of_the_key(bench: Bench, change: dict) -> None:
    bench.map()
    bench.ran()
    bench.map(**change)
    assert bench.ran() == "abc"
    bench.map()
    assert bench.ran() == ""


def test_a_renamed_source_is_another_one(bench: Bench) -> None:
    bench.map()
    bench.ran()
    (bench.root / "in/a").rename(bench.root / "in/z")
    bench.map()
    assert bench.ran() == "z"
    assert "a" not in bench.files()


def test_a_lost_object_or_action_is_made_again(bench: Bench) -> None:
    bench.map()
    bench.ran()
    store = Store(bench.cache, "1")
    bench.cache.path(store.digests.of(bench.root / "out/a")).unlink()
    next((bench.cache.folder / "privllm/actions").rglob("*.json")).write_text("{")
    files = bench.files()
    bench.map()
    assert 1 <= len(bench.ran()) <= 2
    assert bench.files() == files


def test_without_a_cache_everything_is_made(bench: Bench) -> None:
    store = Store()
    jobs = [(Config(), bench.root / "in/a", Unkeyed(bench.calls))]
    first = store.map(shout, jobs, bench.root / "out", "shout")
    assert store.map(shout, jobs, bench.root / "out", "shout") == first
    assert bench.ran() == "aa"


@pytest.mark.parametrize("links", [("copy",), ("hardlink", "copy"), ("reflink", "copy")])
def test_objects_are_named_and_protected_as_dvc_does(bench: Bench, links: tuple[str, ...]) -> None:
    cache = Cache(bench.root / "other", links)
    bench.map(cache=cache)
    for path in (path for path in (bench.root / "out").rglob("*") if path.is_file()):
        name = Digests().of(path)
        stored = bench.root / "other/files/md5" / name[:2] / name[2:]
        assert stored.read_bytes() == path.read_bytes()
        assert mode_of(stored) == 0o444, "DVC would read it again, and an editor could write into it"
        assert (stored.stat().st_ino == path.stat().st_ino) == ("hardlink" in links)
        assert mode_of(path) == (0o444 if "hardlink" in links else 0o644)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_copies_may_be_written_by_whom_new_files_may_be(bench: Bench, umask: int) -> None:
    """Who lets nobody read new files wants it of those that come from the cache too."""
    before = os.umask(umask)
    try:
        bench.map()
        bench.ran()
        bench.map()
    finally:
        os.umask(before)
    assert bench.ran() == ""
    assert {mode_of(path) for path in (bench.root / "out").rglob("*") if path.is_file()} == {0o666 & ~umask}


def mode_of(path: Path) -> int:
    """The bits themselves: as root everything may be written."""
    return path.stat().st_mode & 0o777


def object_of(bench: Bench, name: str) -> Path:
    return bench.cache.path(md5_of(bench.root / "out" / name))


@pytest.mark.parametrize("harm", ["cut", "longer", "empty", "unsealed", "unsealed and other", "gone"])
def test_an_object_that_is_not_whole_is_not_there_and_is_made_again(bench: Bench, harm: str) -> None:
    bench.map()
    bench.ran()
    files, stored = bench.files(), object_of(bench, "b")
    text = stored.read_text()
    stored.chmod(0o644)
    if harm == "gone":
        stored.unlink()
    elif harm != "unsealed":
        stored.write_text(
            {"cut": text[:-1], "longer": text + "b", "empty": "", "unsealed and other": text[:-1] + "x"}[harm]
        )
    if harm in ("cut", "longer", "empty"):
        stored.chmod(0o444)
    assert not bench.cache.holds(md5_of(bench.root / "out/b"), len(text))
    bench.map()
    assert bench.ran() == "b"
    assert bench.files() == files
    assert (stored.read_text(), mode_of(stored)) == (text, 0o444)
    bench.map()
    assert bench.ran() == ""


def test_an_object_is_held_by_its_size_and_its_seal(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", ("copy",))
    (tmp_path / "a").write_text("four")
    name = cache.put(tmp_path / "a")
    assert cache.holds(name, 4)
    assert not cache.holds(name, 3)
    assert not cache.holds(name, 5)
    for mode in (0o644, 0o400, 0o555):
        cache.path(name).chmod(mode)
        assert not cache.holds(name, 4)
    assert not cache.holds("0" * 32, 4)


class DiskFull(Exception): ...


def half_of(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes()[:2])
    raise DiskFull


def test_what_dies_on_its_way_into_the_cache_is_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, path = Cache(tmp_path / "cache", ("copy",)), tmp_path / "a"
    path.write_text("four")
    with monkeypatch.context() as patched:
        patched.setattr("privllm.engine.cache.shutil.copyfile", half_of)
        with pytest.raises(DiskFull):
            cache.put(path)
    assert [file for file in cache.folder.rglob("*") if file.is_file()] == [], (
        "every attempt would fill the disk further"
    )
    assert cache.path(cache.put(path)).read_text() == "four"


@pytest.mark.parametrize("before", [None, "before"])
def test_what_dies_on_its_way_out_of_the_cache_is_no_file(
    tmp_path: Path, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, path = Cache(tmp_path / "cache", ("copy",)), tmp_path / "a"
    path.write_text("four")
    name = cache.put(path)
    path.unlink() if before is None else path.write_text(before)
    with monkeypatch.context() as patched:
        patched.setattr("privllm.engine.cache.shutil.copyfile", half_of)
        with pytest.raises(DiskFull):
            cache.get(name, path)
    assert (path.read_text() if path.exists() else None) == before
    cache.get(name, path)
    assert path.read_text() == "four"


def test_an_action_whose_writing_dies_is_not_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text = Path.write_text

    def full_disk(path: Path, text: str, *rest: str) -> int:
        if "actions" not in str(path):
            return write_text(path, text, *rest)
        write_text(path, text[: len(text) // 2], *rest)
        raise DiskFull

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full_disk)
        with pytest.raises(DiskFull):
            bench.map()
    assert not list((bench.cache.folder / "privllm").rglob("*.json*"))
    assert not (bench.root / "out/.scratch").exists()
    bench.ran()
    bench.map()
    assert bench.ran() == "abc"


@pytest.mark.parametrize("borrow", [False, True])
def test_an_object_that_goes_between_asking_and_fetching_is_made_again(
    bench: Bench, borrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`privllm gc` may run beside a build."""
    results, files = bench.map(), bench.files()
    bench.ran()
    gone, holds = object_of(bench, "b"), Cache.holds

    def then_gone(cache: Cache, name: str, size: int) -> bool:
        there = holds(cache, name, size)
        if cache.path(name) == gone:
            gone.unlink(missing_ok=True)
        return there

    with monkeypatch.context() as patched:
        patched.setattr(Cache, "holds", then_gone)
        patched.setattr(Cache, "put", lambda cache, path: md5_of(path))  # or it would ask again
        assert bench.map(borrow=borrow) == results
    assert bench.ran() == "b"
    assert bench.files() == files


def test_inputs_that_were_digested_once_are_not_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.map()
    time.sleep(2 * TICK_NS / 1e9)  # what is fresh is not believed
    bench.map()
    monkeypatch.setattr("privllm.engine.digests.md5_of", lambda path: pytest.fail(f"{path} was read"))
    bench.ran()
    bench.map()
    assert bench.ran() == ""


def test_what_would_be_made_is_known_before(bench: Bench) -> None:
    store, jobs = (
        Store(bench.cache, "1"),
        [(Config(), bench.root / "in" / name, Unkeyed(bench.calls)) for name in "abc"],
    )
    assert store.missing(shout, jobs) == [0, 1, 2]
    store.map(shout, jobs, bench.root / "out", "shout")
    assert store.missing(shout, jobs) == []
    (bench.root / "in/b").write_text("other b")
    assert Store(bench.cache, "1").missing(shout, jobs) == [1]
    assert Store().missing(shout, jobs) == [0, 1, 2]


def test_a_use_is_noted_on_the_action_for_gc(bench: Bench) -> None:
    bench.map()
    actions = sorted((bench.cache.folder / "privllm/actions").rglob("*.json"))
    for path in actions:
        os.utime(path, (1, 1))
    (bench.root / "in/c").unlink()
    bench.map()
    assert sorted(path.stat().st_mtime > 1 for path in actions) == [False, True, True]


def test_what_cannot_be_a_key_is_refused(bench: Bench) -> None:
    with pytest.raises(AssertionError, match="cannot be part of a key"):
        Store(bench.cache).map(shout, [(object(),)], bench.root / "out", "shout")
    with pytest.raises(ValueError, match="not JSON compliant"):
        Store(bench.cache).map(shout, [(float("nan"),)], bench.root / "out", "shout")


def test_keys_tell_apart_what_differs(bench: Bench) -> None:
    store = Store(bench.cache)
    jobs = [
        (1,),
        (1.5,),
        ("1",),
        (None,),
        (True,),
        ([1],),
        ({"a": 1},),
        ([["a", 1]],),
        (Config(),),
        ({"factor": 2},),
        (bench.root / "in/a",),
    ]
    assert len({store.key_of(shout, job) for job in jobs}) == len(jobs)


SLOW = """
import sys, time
from pathlib import Path
from privllm.engine.cache import Cache
from privllm.engine.store import Store
sys.path.insert(0, sys.argv[2])
from slowly import copy
root = Path(sys.argv[1])
jobs = [(path,) for path in sorted((root / "in").iterdir())]
Store(Cache(root / "cache", ("copy",)), "1").map(copy, jobs, root / "out", "slow", inline_bytes=1 << 40)
"""


@pytest.mark.slow
def test_a_killed_map_goes_on_from_what_was_finished(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "slowly.py").write_text(
        "import time\nfrom pathlib import Path\n\n\ndef copy(out, source):\n    time.sleep(0.3)\n"
        "    (out / source.name).write_bytes(source.read_bytes())\n    with open(source.parent.parent / 'calls', 'a') as log:\n"
        "        log.write(source.name + '\\n')\n"
    )
    command = [sys.executable, "-c", SLOW, str(bench.root), str(tmp_path)]
    process = subprocess.Popen(command)
    while len(bench.calls.read_text()) < 2 and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert bench.ran() == "a"
    subprocess.run(command, check=True)
    assert bench.ran() == "bc"
    assert sorted(bench.files()) == ["a", "b", "c"]


def extend(out: Path, source: Path, before: Before | None) -> str:
    """Tells what it was given of last time."""
    (out / source.name).write_text(source.read_text())
    if before is None:
        return "nothing"
    return f"{before.inputs[source.name].read_text()} {before.files[source.name].read_text()} {before.value}"


def test_a_job_is_shown_its_last_version(bench: Bench) -> None:
    source = bench.root / "in/a"

    def run(text: str, name: str = "a") -> str:
        source.with_name(name).write_text(text)
        return Store(bench.cache, "1").map(
            extend, [(source.with_name(name),)], bench.root / "out", "extend", resume=True
        )[0]

    assert run("one") == "nothing"
    assert run("two") == "one one nothing"
    assert run("one") == "nothing"
    assert run("three") == "two two one one nothing"
    assert run("two", "b") == "nothing"


def shown(out: Path, source: Path, before: Before | None) -> bool:
    """Whether it was given something of last time."""
    (out / source.name).write_text(source.read_text().upper())
    return before is not None


@pytest.mark.parametrize("gone", ["nothing", "input", "output", "note"])
def test_a_last_version_is_shown_whole_or_not_at_all(bench: Bench, gone: str) -> None:
    source, store = bench.root / "in/a", Store(bench.cache, "1")
    inside = bench.cache.path(bench.cache.put(source))  # as DVC puts the output of the stage before
    store.map(shown, [(source,)], bench.root / "out", "shown", resume=True)
    if gone == "input":
        inside.unlink()
    elif gone == "output":
        object_of(bench, "a").unlink()
    elif gone == "note":
        next((bench.cache.folder / "privllm/last").iterdir()).write_text("{")
    source.write_text("edited")
    assert store.map(shown, [(source,)], bench.root / "out", "shown", resume=True) == [gone == "nothing"]


def test_what_is_borrowed_is_read_and_not_copied(bench: Bench) -> None:
    results, files = bench.map(), bench.files()
    (bench.root / "in/b").write_text("new")
    assert bench.map(borrow=True)[::2] == results[::2]
    assert [path.name for path in sorted((bench.root / "out").iterdir()) if path.is_symlink()] == ["a", "c"]
    assert {name: text for name, text in bench.files().items() if "b" not in name} == {
        n: t for n, t in files.items() if "b" not in n
    }
    bench.map()
    assert not any(path.is_symlink() for path in (bench.root / "out").rglob("*"))


def test_two_attempts_at_a_job_do_not_meet(bench: Bench) -> None:
    """As when a cluster gives up a machine that still works: only the attempt that was heard of reaches `out`."""
    task = (
        shout,
        bench.cache,
        Identity("ab12", "1", []),
        bench.root / "out/.scratch/0",
        (Config(), bench.root / "in/a", Unkeyed(bench.calls)),
    )
    heard, unheard = perform(*task), perform(*task)
    assert (heard["files"], heard["value"]) == (unheard["files"], unheard["value"])
    move_files(heard, bench.root / "out")
    assert (bench.root / "out/a").read_bytes() == (unheard["attempt"] / "a").read_bytes()
    assert list((bench.root / "out/.scratch").iterdir()) == [unheard["attempt"]]


def test_an_action_says_whose_code_made_it_of_which_files(bench: Bench) -> None:
    """So that `privllm push` can tell what belongs to the build; what is `Unkeyed` decides nothing."""

    @dataclass
    class Places:
        folder: dict[str, list[Path]]

    store = Store(bench.cache, "1")
    places = Places({"more": [bench.root / "in/b"]})
    jobs = [(places, bench.root / "in/a", Unkeyed(bench.calls))]
    store.map(shout_nested, jobs, bench.root / "out", "shout")
    action = json.loads(action_path(bench.cache, store.key_of(shout_nested, jobs[0])).read_text())
    assert action["code"] == "1"
    assert action["inputs"] == sorted([md5_of(bench.root / "in/a"), md5_of(bench.root / "in/b")])


def test_results_are_the_same_fresh_and_found(bench: Bench) -> None:
    fresh = bench.map()
    assert fresh == bench.map() == json.loads(json.dumps(fresh))


def test_actions_are_small_files_beside_the_objects(bench: Bench) -> None:
    bench.map()
    found = list((bench.cache.folder / "privllm/actions").rglob("*.json"))
    assert len(found) == 3
    assert all(action_path(bench.cache, path.parent.name + path.stem) == path for path in found)


def test_executors_see_the_files_of_arguments_that_are_in_no_key(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.touch()
    assert list(files_in((1, Unkeyed(((path,), "x"))))) == [path]
