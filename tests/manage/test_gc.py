"""After gc the store fits, every build gives the bytes it gave, and what DVC refers to is still there."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import md5_of
from privllm.engine.store import Before, Store
from privllm.manage import gc as gc_module
from privllm.manage.dvc_references import exclusive
from privllm.manage.gc import Freed, collect_garbage, drop, parse_size, read_actions, size_text
from tests.workshop import Workshop, environment, make_workshop

NAMES = "abcd"


def write(out: Path, source: Path, factor: int, before: Before | None) -> int:
    """Two files, of which the second is the same for many sources and factors."""
    (out / source.name).write_text(source.read_text() * factor)
    (out / f"parity-{source.name}").write_text("even" if factor % 2 else "odd")
    return factor + int(before is None and factor < 0)


class Bench:
    """Sources that change, a cache, and the builds that were made of them."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root, Cache(root / "cache", ("copy",))
        (root / "in").mkdir()
        self.clock = 1_000

    def build(self, texts: dict[str, str], factor: int) -> tuple[list[int], dict[str, str]]:
        """Results and files of a build of some sources; its actions are used one by one, later than all before."""
        shutil.rmtree(self.root / "in")
        (self.root / "in").mkdir()
        for name, text in texts.items():
            (self.root / "in" / name).write_text(text)
        before = {action.path: action.used for action in read_actions(self.cache)}
        out = self.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        jobs = [(path, factor) for path in sorted((self.root / "in").iterdir())]
        values = Store(self.cache, "1").map(write, jobs, out, "write", resume=True)
        for action in reversed(read_actions(self.cache)):
            if before.get(action.path) != action.used:
                self.clock += 1
                os.utime(action.path, (self.clock, self.clock))
        return values, {path.name: path.read_text() for path in sorted(out.iterdir())}

    def objects(self) -> set[str]:
        return {path.parent.name + path.name for path in (self.cache.folder / "files/md5").rglob("*") if path.is_file()}

    def bytes(self) -> int:
        """Of actions and the objects that they name."""
        actions = read_actions(self.cache)
        named = {name: size for action in actions for name, size in action.objects.items()}
        return sum(action.bytes for action in actions) + sum(named.values())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def history(bench: Bench, chance: random.Random, builds: int) -> list[tuple[dict[str, str], int]]:
    """Some builds of sources that share contents, oldest first."""
    made = []
    for _ in range(builds):
        texts = {
            name: chance.choice(["x", "yy", "zzz" * 50, "w" * 300])
            for name in chance.sample(NAMES, chance.randint(1, len(NAMES)))
        }
        made.append((texts, chance.randint(1, 5)))
        bench.build(*made[-1])
    return made


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_any_rebuild_after_any_gc_gives_the_same_bytes(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    past = history(bench, chance, 8)
    expected = [bench.build(*build) for build in past]
    everything = bench.objects()
    used = set(chance.sample(sorted(everything), len(everything) // 3)) | {"f" * 32}
    foreign = bench.cache.path("0" * 32)
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("not the store's")
    actions, limit = read_actions(bench.cache), chance.choice([0, bench.bytes() // 3, bench.bytes() - 1, bench.bytes()])

    foreseen = drop(bench.cache, limit, used, dry_run=True)
    assert (read_actions(bench.cache), bench.objects()) == (actions, everything | {"0" * 32})
    assert drop(bench.cache, limit, used, dry_run=False) == foreseen

    kept = read_actions(bench.cache)
    assert kept == actions[: foreseen.kept], "those used last"
    assert bench.bytes() <= limit
    named = {name for action in kept for name in action.objects}
    assert bench.objects() == named | (used & everything) | {"0" * 32}
    assert foreseen.freed.count == len(everything) - len(named | (used & everything))
    assert [bench.build(*build) for build in past] == expected


def test_what_fits_stays(bench: Bench) -> None:
    history(bench, random.Random(0), 4)
    actions, objects = read_actions(bench.cache), bench.objects()
    assert drop(bench.cache, bench.bytes(), set(), dry_run=False).dropped == 0
    assert (read_actions(bench.cache), bench.objects()) == (actions, objects)
    assert drop(bench.cache, bench.bytes() - 1, set(), dry_run=False).dropped >= 1


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_stopped_at_any_moment_it_leaves_a_smaller_store(
    bench: Bench, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = history(bench, random.Random(1), 6)
    expected = [bench.build(*build) for build in past]
    left, free = [after], gc_module._free

    def free_or_stop(path: Path, referenced: bool, found: Freed, dry_run: bool) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        free(path, referenced, found, dry_run)

    monkeypatch.setattr(gc_module, "_free", free_or_stop)
    actions = read_actions(bench.cache)
    with pytest.raises(KeyboardInterrupt):
        drop(bench.cache, 0, set(), dry_run=False)
    left_over = read_actions(bench.cache)
    assert 0 < len(left_over) < len(actions)
    assert left_over == actions[: len(left_over)], "the oldest went first"
    named = {name for action in read_actions(bench.cache) for name in action.objects}
    assert named <= bench.objects(), "no action without its objects"
    assert [bench.build(*build) for build in past] == expected


def test_an_action_that_a_build_uses_meanwhile_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.build({"a": "x", "b": "yy"}, 3)
    read = gc_module.read_actions

    def read_then_use(cache: Cache) -> list[gc_module.Action]:
        actions = read(cache)
        os.utime(actions[-1].path)
        return actions

    monkeypatch.setattr(gc_module, "read_actions", read_then_use)
    found = drop(bench.cache, 0, set(), dry_run=False)
    (kept,) = read(bench.cache)
    assert (found.kept, found.dropped, found.held.count) == (1, 1, 2)
    assert kept.objects.keys() == bench.objects()


def test_a_build_that_loses_its_objects_meanwhile_makes_them_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = bench.build({"a": "x", "b": "yy"}, 3)
    find = Store._recorded_action

    def find_then_lose(store: Store, key: str) -> dict | None:
        action = find(store, key)
        drop(bench.cache, 0, set(), dry_run=False)
        return action

    monkeypatch.setattr(Store, "_recorded_action", find_then_lose)
    assert bench.build({"a": "x", "b": "yy"}, 3) == expected


def test_what_cannot_be_read_goes(bench: Bench) -> None:
    expected = bench.build({"a": "x", "b": "yy", "c": "zzz"}, 3)
    broken, outside, _ = (action.path for action in read_actions(bench.cache))
    broken.write_text("{")
    outside.write_text(outside.read_text().replace('"files": {', '"files": {"away": ["../../../../in/a", 1], '))
    assert drop(bench.cache, 0, set(), dry_run=False).dropped == 3
    assert (bench.root / "in/a").exists()
    assert bench.build({"a": "x", "b": "yy", "c": "zzz"}, 3) == expected


@pytest.mark.parametrize(
    "name", ["..../../in/a", "../../../../in/a", "/" * 2 + "{root}/in/a", "A" * 32, "0" * 31, "0" * 32 + ".dir"]
)
def test_an_action_that_names_a_path_instead_of_an_object_frees_nothing_outside(bench: Bench, name: str) -> None:
    """Whoever can write into a shared cache may not have somebody else's gc remove files of their choice."""
    bench.build({"a": "x"}, 3)
    name = name.format(root=bench.root)
    victim = bench.cache.path(name)
    victim.parent.mkdir(parents=True, exist_ok=True)
    victim.write_text("not the store's")
    (action,) = (action.path for action in read_actions(bench.cache))
    action.write_text(json.dumps({"value": 1, "files": {"away": [name, 1]}}))
    assert [one.objects for one in read_actions(bench.cache)] == [{}]
    assert drop(bench.cache, 0, set(), dry_run=False).freed.count == 0
    assert not action.exists()
    assert victim.exists()


def test_what_a_build_finds_again_counts_as_used(bench: Bench) -> None:
    """gc keeps what was used last: the store touches an action that it only looked up."""
    store, out = Store(bench.cache, "1"), bench.root / "out"
    jobs = {}
    for name in ("old", "new"):
        (bench.root / f"in/{name}").write_text(name)
        jobs[name] = [(bench.root / f"in/{name}", 3)]
        store.map(write, jobs[name], out / name, "write", resume=True)
    by_name = {next(iter(json.loads(action.path.read_text())["files"])): action for action in read_actions(bench.cache)}
    for name, used in (("old", 1_000), ("new", 2_000)):
        os.utime(by_name[name].path, (used, used))
    store.map(write, jobs["old"], out / "again", "write", resume=True)
    first, second = read_actions(bench.cache)
    assert (first.path, second.path) == (by_name["old"].path, by_name["new"].path)
    drop(bench.cache, first.bytes + sum(first.objects.values()), set(), dry_run=False)
    assert [action.path for action in read_actions(bench.cache)] == [first.path]


def test_notes_go_with_what_they_lead_to_and_others_grow_old(bench: Bench) -> None:
    bench.build({"a": "x", "b": "yy"}, 3)
    store = Store(bench.cache, "1")
    for age in range(7):
        note = store.note("collect", age)
        assert note
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(age))
        os.utime(note, (1_000 - age, 1_000 - age))
    (note.parent / "README").write_text("not a note")
    last = bench.cache.folder / "privllm/last"
    assert len(list(last.iterdir())) == 2
    newest = read_actions(bench.cache)[0]
    assert drop(bench.cache, newest.bytes + sum(newest.objects.values()), set(), dry_run=True).notes == 4
    assert drop(bench.cache, newest.bytes + sum(newest.objects.values()), set(), dry_run=False).notes == 4
    assert len(list(last.iterdir())) == 1
    assert sorted(path.read_text() for path in note.parent.iterdir()) == ["0", "1", "2", "3", "not a note"]


def test_a_note_whose_action_is_gone_already_goes(bench: Bench) -> None:
    bench.build({"a": "x", "b": "yy"}, 3)
    read_actions(bench.cache)[0].path.unlink()
    assert drop(bench.cache, bench.bytes(), set(), dry_run=False).notes == 1
    assert len(list((bench.cache.folder / "privllm/last").iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("20GB", 20 * 10**9), ("1.5 tb", 15 * 10**11), ("500MB", 5 * 10**8), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "20 gibibytes", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="is not a size"):
        parse_size(text)


def test_sizes_for_people() -> None:
    assert [size_text(size) for size in (0, 999, 1000, 2_500_000, 3 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 KB",
        "2.5 MB",
        "3.0 TB",
    ]


def test_it_asks_before_it_empties_a_cache_that_others_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repo/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repo")
    (tmp_path / "repo/.dvc/config").write_text("[cache]\n    dir = ../../shared\n")
    with pytest.raises(UserError, match="--project"):
        collect_garbage("0", dry_run=False, projects=[])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no DVC repository"):
        collect_garbage("0", dry_run=False, projects=[])


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A DVC repository with a build in its cache, and the working directory."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-P", "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True, env=environment())
    monkeypatch.chdir(tmp_path)
    found = find_cache(tmp_path)
    assert found
    bench = Bench(tmp_path)
    bench.cache = found
    bench.build({"a": "x", "b": "yy"}, 3)
    return bench


@pytest.mark.slow
def test_it_waits_for_no_build_of_dvc_and_drops_nothing_beside_one(repository: Bench) -> None:
    """DVC at work may be about to write down that it needs what nothing refers to yet."""
    before = repository.objects()
    assert len(before) == 3
    with exclusive(repository.root):
        foreseen = collect_garbage("0", dry_run=True, projects=[])
        with pytest.raises(UserError, match="DVC is running"):
            collect_garbage("0", dry_run=False, projects=[])
    assert repository.objects() == before
    assert collect_garbage("0", dry_run=False, projects=[]) == foreseen
    assert repository.objects() == set()


@pytest.mark.slow
def test_what_is_referred_to_while_it_looked_at_git_stays(repository: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git takes long; the workspace is asked again once nobody can change it, so a build that ended meanwhile loses nothing."""
    before, asked = repository.objects(), []

    def references_of_a_build_that_ends_now(roots: list[Path], revisions: bool) -> set[str]:
        locked = True
        try:
            with exclusive(Path()):
                locked = False
        except UserError:
            pass
        asked.append((roots, revisions, locked))
        return set() if revisions else before

    monkeypatch.setattr(gc_module, "references", references_of_a_build_that_ends_now)
    others = [repository.root / "other"]
    assert collect_garbage("0", dry_run=False, projects=others).freed.count == 0
    assert repository.objects() == before
    everywhere = [Path(), *others]
    assert asked == [(everywhere, True, False), (everywhere, False, True)]


STAGES = ("collect", "clean", "dedup")


def built(shop: Workshop) -> dict[str, str]:
    """The MD5s of what the workspace holds."""
    files = (path for stage in STAGES for path in (shop.root / "data" / stage).rglob("*") if path.is_file())
    return {path.relative_to(shop.root).as_posix(): md5_of(path) for path in sorted(files)}


def in_cache(shop: Workshop) -> set[str]:
    cache = shop.root / ".dvc/cache"
    return {path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()}


def test_git_history_and_rebuilds_survive_in_a_real_repository(tmp_path: Path) -> None:
    """Two commits, an experiment, and a build that nobody committed."""
    shop = make_workshop(tmp_path / "repo", ("fingerprint", *STAGES))
    shop.set("clean.profile", "web")
    shop.repro("dedup")
    shop.commit("first")
    first = built(shop)
    shop.set("clean.quality.min_words", 30)
    shop.run("dvc", "exp", "run", "-n", "tried", "dedup")
    tried = built(shop)
    shop.run("git", "reset", "-q", "--hard")
    (shop.root / "data/sources/notes.md").unlink()
    shop.repro("dedup")
    shop.commit("second")
    second = built(shop)
    shop.set("clean.quality.min_words", 40)
    shop.repro("dedup")
    never_committed = built(shop)
    shop.run("git", "reset", "-q", "--hard")
    shop.run("dvc", "checkout", "-q", "--allow-missing", "--force")
    assert built(shop) == second
    before = in_cache(shop)

    shown = shop.run("python", "-m", "privllm.cli", "gc", "--keep", "0", "--dry-run")
    assert in_cache(shop) == before
    done = shop.run("python", "-m", "privllm.cli", "gc", "--keep", "0")
    assert done.stdout == shown.stdout.replace("would drop", "dropped").replace("would free", "freed")
    assert (done.stderr, shown.stderr) == ("", "")
    gone = before - in_cache(shop)
    shards = {
        md5 for path, md5 in never_committed.items() if path.endswith(".parquet")
    }  # what else there is, DVC has put there
    alone = shards - set(first.values()) - set(second.values()) - set(tried.values())
    assert alone
    assert {f"files/md5/{name[:2]}/{name[2:]}" for name in alone} <= gone
    assert not any(path.endswith(".dir") for path in gone)
    assert not [path for path in in_cache(shop) if path.startswith("privllm/actions")]

    assert shop.repro("dedup") == []
    assert built(shop) == second
    (experiment,) = (
        ref for ref in shop.run("git", "for-each-ref", "--format=%(refname)").stdout.split() if ref.endswith("/tried")
    )
    for revision, expected in (("main~1", first), (experiment, tried), ("main", second)):
        shop.run("git", "checkout", "-q", "-f", revision)
        shop.run("dvc", "checkout", "-q", "--allow-missing", "--force")
        assert built(shop) == expected, revision
    shop.set("clean.quality.min_words", 40)
    assert "clean" in shop.repro("dedup")
    assert built(shop) == never_committed
