"""What a build leaves in a remote serves a fresh clone; what is broken or false in a remote is refused, by name or all of it.

`remote`, `arrived`, `push` and `pull` are tested here on a build of three stages. tests/test_team.py has the whole story.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
import yaml

from privllm.core.errors import UserError
from privllm.engine.cache import find_cache
from privllm.manage import pull as pull_module
from privllm.manage import remote as remote_module
from privllm.manage.dvc_references import references
from privllm.manage.pull import pull
from privllm.manage.push import push
from privllm.manage.remote import Remote, named_actions
from privllm.manage.travelling import needed_objects, parse_action, read_local, travelling_stages
from tests.workshop import Workshop, environment, make_workshop

STAGES = ("fingerprint", "collect", "clean", "dedup")
SHARDS = 16


class Team:
    """A clone that has built and pushed, its remote, and fresh clones."""

    def __init__(self, root: Path, builder: Workshop) -> None:
        self.root, self.builder, self.remote = root, builder, root / "remote"

    def clone(self, name: str = "clone") -> Workshop:
        """Return a fresh clone whose remote is this team's."""
        fresh = Workshop(self.root / name)
        self.builder.run("git", "clone", "-q", str(self.builder.root), str(fresh.root))
        fresh.run("dvc", "remote", "modify", "--local", "storage", "url", str(self.remote))
        return fresh

    def actions(self, stage: str = "") -> list[Path]:
        """Return the files of the actions of a stage, or of all, in the remote."""
        code = next((code for code, name in self.codes().items() if name == stage), "*")
        return sorted((self.remote / "privllm/actions").glob(f"{code}/*.json"))

    def codes(self) -> dict[str, str]:
        before = Path.cwd()
        os.chdir(self.builder.root)
        try:
            return travelling_stages()
        finally:
            os.chdir(before)

    def object(self, name: str) -> Path:
        return self.remote / "files/md5" / name[:2] / name[2:]

    def falsify(self, action: Path, change: Callable[[dict[str, Any]], object]) -> None:
        """Replace an action by a false one whose name is right."""
        content = json.loads(action.read_text())
        change(content)
        text = json.dumps(content)
        key = action.name.partition("-")[0]
        action.unlink()
        action.with_name(f"{key}-{md5(text.encode()).hexdigest()}.json").write_text(text)

    def objects_of_shards(self) -> list[str]:
        """Return the objects in the remote that only actions name."""
        records = [parse_action(path.read_bytes(), "0" * 32, path) for path in self.actions()]
        listed: set[str] = set()
        for path in (self.remote / "files/md5").rglob("*.dir"):
            listed |= {entry["md5"] for entry in json.loads(path.read_text())}
        locks = yaml.safe_load((self.builder.root / "dvc.lock").read_text())["stages"].values()
        listed |= {out["md5"] for stage in locks for out in stage["outs"]}
        return sorted(needed_objects(records).keys() - listed)


def run(shop: Workshop, *words: str) -> subprocess.CompletedProcess[str]:
    return shop.run(sys.executable, "-m", "privllm.cli", *words, check=False)


def made(shop: Workshop) -> dict[str, tuple[int, int]]:
    """Return {stage: (shards made, shards)} of the last run of each stage."""
    lines = (shop.root / ".privllm/log.jsonl").read_text().splitlines()
    entries = {entry["stage"]: entry for entry in map(json.loads, lines)}
    return {stage: (entry["made"], entry["shards"]) for stage, entry in entries.items() if "made" in entry}


def stored(shop: Workshop) -> int:
    """Return how many actions a clone has."""
    return len(list((shop.root / ".dvc/cache/privllm/actions").rglob("*.json")))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Team:
    root = tmp_path_factory.mktemp("team")
    builder = make_workshop(root / "builder", STAGES)
    builder.repro("dedup")
    builder.run("dvc", "remote", "add", "-d", "storage", str(root / "remote"))
    builder.commit("built")
    done = run(builder, "push")
    assert done.returncode == 0, done.stderr
    return Team(root, builder)


@pytest.fixture
def team(built: Team, tmp_path: Path) -> Team:
    """The same with a remote of its own, to break."""
    shutil.copytree(built.remote, tmp_path / "remote")
    return Team(tmp_path, built.builder)


@pytest.fixture
def clone(team: Team, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A fresh clone, in which this process works."""
    fresh = team.clone()
    monkeypatch.chdir(fresh.root)
    return fresh


@pytest.mark.proof
def test_the_first_edit_in_a_fresh_clone_makes_one_shard(team: Team) -> None:
    fresh = team.clone()
    done = run(fresh, "pull", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert f"{len(team.actions())} taken" in done.stdout
    assert "the same bytes" in done.stdout
    assert fresh.repro("dedup") == [], "what was pulled is what dvc.lock says"
    (fresh.root / "data/sources/notes.md").write_text("# Notes\n\nThe committee met on Friday and wrote a new report.")
    assert fresh.repro("dedup") == ["collect", "clean", "dedup"]
    assert made(fresh)["collect"] == made(fresh)["clean"] == (1, SHARDS)
    assert made(fresh)["dedup"][0] <= 9, "a shard of each of its maps"


def test_without_actions_it_makes_all(team: Team) -> None:
    """What `dvc pull` alone gives: the figure that this is about."""
    fresh = team.clone()
    fresh.run("dvc", "pull", "--allow-missing")
    (fresh.root / "data/sources/notes.md").write_text("# Notes\n\nThe committee met on Friday and wrote a new report.")
    fresh.repro("clean")
    assert made(fresh)["collect"] == made(fresh)["clean"] == (SHARDS, SHARDS)


def test_only_what_is_lacking_travels(team: Team, clone: Workshop) -> None:
    first = pull("", None, 0, 0)
    assert (first.taken, first.known, first.refused) == (len(team.actions()), 0, {})
    assert first.objects == len(team.objects_of_shards()) > 0
    again = pull("", None, 0, 0)
    assert (again.files, again.taken, again.objects, again.known) == (0, 0, 0, first.taken)
    back = push("", None, prune=False)
    assert (back.files, back.objects, back.sent, back.actions) == (0, 0, 0, first.taken)
    assert (back.others, back.broken, back.missing) == (0, 0, 0)


def test_what_was_removed_does_not_travel(team: Team, clone: Workshop) -> None:
    """Nobody's words reach the remote because an earlier build had them."""
    pull("", None, 0, 0)
    shutil.rmtree(team.remote)
    (clone.root / "data/sources/letter.txt").unlink()
    (clone.root / "data/sources/copy.txt").unlink()
    clone.repro("dedup")
    cache = find_cache(Path())
    assert cache
    sent = push("", None, prune=False)
    assert sent.others > 0
    assert sent.actions == len(team.actions())
    in_remote = {path.parent.name + path.name for path in (team.remote / "files/md5").rglob("*") if path.is_file()}
    names = {name for name in in_remote if b"jane.doe" in cache.path(name).read_bytes()}
    assert names == set()
    records = read_local(cache, travelling_stages().keys())
    with_letter = needed_objects(records.values()).keys() - in_remote
    assert with_letter, "objects of the removed letter are in the cache"


def test_prune_leaves_the_actions_of_this_build(team: Team, clone: Workshop) -> None:
    pull("", None, 0, 0)
    before = set(team.actions())
    (clone.root / "data/sources/letter.txt").unlink()
    clone.repro("dedup")
    sent = push("", None, prune=True)
    assert sent.removed > 0
    assert len(team.actions()) == sent.actions
    assert len(before - set(team.actions())) == sent.removed


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def other(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize("damage", [cut, other])
@pytest.mark.parametrize("kind", ["file", "list of a folder"])
def test_a_damaged_file_of_the_build_stops_it(
    team: Team, clone: Workshop, damage: Callable[[bytes], bytes], kind: str
) -> None:
    names = sorted(references([team.builder.root], revisions=False))
    name = [name for name in names if name.endswith(".dir") == (kind != "file")][-1]
    path = team.object(name)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(damage(content))
    with pytest.raises(UserError, match=f"{name}|failed"):
        pull("", None, 0, 0)
    cache = find_cache(Path())
    assert cache
    assert not cache.path(name).exists()
    assert stored(clone) == 0
    path.write_bytes(content)
    assert pull("", None, 0, 0).taken == len(team.actions())


@pytest.mark.parametrize("damage", [cut, other])
def test_a_damaged_object_leaves_out_the_actions_that_name_it(
    team: Team, clone: Workshop, damage: Callable[[bytes], bytes]
) -> None:
    name = team.objects_of_shards()[0]
    path = team.object(name)
    path.chmod(0o444)  # as DVC's own cache has it, where DVC would trust it
    path.chmod(0o644)
    path.write_bytes(damage(path.read_bytes()))
    path.chmod(0o444)
    naming = [action for action in team.actions() if name in action.read_text()]
    result = pull("", None, 0, 0)
    assert set(result.refused) <= {str(action) for action in naming}
    assert all(name in reason for reason in result.refused.values())
    assert result.refused
    assert result.taken + len(result.refused) + result.others == len(team.actions())
    cache = find_cache(Path())
    assert cache
    assert not cache.path(name).exists()
    assert run(clone, "pull").returncode == 1


def test_an_action_that_is_cut_short_is_refused_and_sent_again(team: Team, clone: Workshop) -> None:
    broken = team.actions("clean")[3]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-5])
    result = pull("", None, 0, 0)
    assert list(result.refused) == [str(broken)]
    assert "cut short" in result.refused[str(broken)]
    assert result.taken == len(team.actions()) - 1
    team.builder.run("dvc", "remote", "modify", "--local", "storage", "url", str(team.remote))
    try:
        assert run(team.builder, "push").returncode == 0
    finally:
        (team.builder.root / ".dvc/config.local").unlink()
    assert broken.read_bytes() == whole
    assert (pull("", None, 0, 0).taken, stored(clone)) == (1, len(team.actions()))


def test_what_is_no_action_is_refused_by_name(team: Team, clone: Workshop) -> None:
    first, second, third, fourth = team.actions("clean")[:4]
    count = len(team.actions())
    (first.parent / "notes.txt").write_text("hello")
    team.falsify(first, lambda action: action["files"].update({"../../x": ["a" * 32, 1]}))
    team.falsify(second, lambda action: action.update(code="d" * 32))
    shutil.copy(third, third.with_name(f"{third.name.partition('-')[0]}-{'e' * 32}.json"))  # two results, one key
    team.falsify(fourth, lambda action: action["files"].update({"00000.parquet": ["a" * 32, 1]}))
    result = pull("", None, 0, 0)
    reasons = sorted(result.refused.values())
    assert len(reasons) == 6
    said = " ".join(reasons)
    for word in ("outside the output", "of other code", "two different results", "not that of an action", "a" * 32):
        assert word in said
    assert result.taken == count - 4
    assert not (clone.root / ".privllm/pull").exists()


def test_another_result_than_the_store_has_is_refused(team: Team, clone: Workshop) -> None:
    pull("", None, 0, 0)
    own = stored(clone)
    liar = team.actions("clean")[0]
    team.falsify(liar, lambda action: action.update(value=None))
    result = pull("", None, 0, 0)
    assert list(result.refused.values()) == ["the store here has another result for the same key"]
    assert (result.taken, result.known, stored(clone)) == (0, own - 1, own)


def test_what_is_too_much_is_refused(team: Team, clone: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = max(path.stat().st_size for path in team.actions())
    monkeypatch.setattr(pull_module, "MAX_BYTES", longest - 1)
    result = pull("", None, 0, 0)
    assert result.refused
    assert all("longer than" in reason for reason in result.refused.values())
    monkeypatch.setattr(remote_module, "MAX_ACTIONS", SHARDS - 1)
    with pytest.raises(UserError, match=r"more than 15 files in .*: remove some"):
        pull("", None, 0, 0)


def swap_objects(team: Team) -> None:
    """One action of clean says that its shard became what another shard became."""
    first, second = team.actions("clean")[:2]
    entries = json.loads(second.read_text())["files"].values()
    team.falsify(first, lambda action: action.update(files=dict(zip(action["files"], entries, strict=True))))


def change_value(team: Team) -> None:
    for action in team.actions("clean"):
        team.falsify(action, lambda content: content["value"].update(documents=1_000))


def spoil_value(team: Team) -> None:
    """What the stage cannot even read; no other actions are there, so this stage is drawn."""
    for code, stage in team.codes().items():
        if stage != "clean":
            shutil.rmtree(team.remote / "privllm/actions" / code, ignore_errors=True)
    for action in team.actions("clean"):
        team.falsify(action, lambda content: content.update(value="nothing"))


@pytest.mark.parametrize(
    ("lie", "sample", "said"),
    [
        (swap_objects, 1000, "not what the code here makes"),
        (change_value, 1000, "not what the code here makes"),
        (spoil_value, 1, "the stage clean failed on"),
    ],
)
def test_a_false_action_refuses_all(
    team: Team, clone: Workshop, lie: Callable[[Team], None], sample: int, said: str
) -> None:
    lie(team)
    done = run(clone, "pull", "--sample", str(sample))
    assert done.returncode == 1
    assert re.search(rf"{said} .*none of the \d+ was taken", done.stderr), done.stderr
    assert stored(clone) == 0
    assert not (clone.root / ".privllm/pull").exists()
    assert clone.repro("dedup") == []


def test_the_sample_can_be_as_large_as_one_likes(team: Team, clone: Workshop) -> None:
    done = run(clone, "pull", "--sample", "10000")
    assert f"sample   {len(team.actions())} actions made again" in done.stdout, done.stderr


def test_a_sample_that_cannot_be_made_takes_nothing(team: Team, clone: Workshop) -> None:
    """Here the code is no longer that of the build."""
    clone.edit("privllm/clean/recipe.py", "def clean(", "def unused() -> int:\n    return 1\n\n\ndef clean(")
    for code, stage in team.codes().items():
        if stage != "clean":
            shutil.rmtree(team.remote / "privllm/actions" / code, ignore_errors=True)  # that were not built
    done = run(clone, "pull")
    assert done.returncode == 1
    assert re.search("no sample .*clean: .*--sample 0", done.stderr), done.stderr
    assert stored(clone) == 0
    assert run(clone, "pull", "--sample", "0").returncode == 0
    assert stored(clone) == SHARDS


def test_an_edit_that_is_nowhere_else_is_not_overwritten(clone: Workshop) -> None:
    pull("", None, 0, 0)
    notes = clone.root / "data/sources/notes.md"
    notes.write_text("mine")
    with pytest.raises(UserError, match="edited here would be lost"):
        pull("", None, 0, 0)
    assert notes.read_text() == "mine"


def test_an_interrupted_push_goes_on(team: Team, clone: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    pull("", None, 0, 0)
    count = len(team.actions())
    shutil.rmtree(team.remote)
    sent: list[str] = []
    send = Remote.send

    def interrupted(self: Remote, source: Path, path: str) -> None:
        if len(sent) == 5:
            raise KeyboardInterrupt
        sent.append(path)
        send(self, source, path)

    monkeypatch.setattr(Remote, "send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        push("", 1, prune=False)
    assert 0 < len(team.actions()) < count
    for action in team.actions():
        record = parse_action(action.read_bytes(), "0" * 32, action)
        assert all(team.object(name).is_file() for name in record.objects), "objects go first"
    monkeypatch.setattr(Remote, "send", send)
    again = push("", None, prune=False)
    assert (again.files, again.objects, again.sent) == (0, 0, count - 5)
    assert len(team.actions()) == count


def test_a_push_that_was_killed_among_a_folders_files_is_made_whole(team: Team, clone: Workshop) -> None:
    """The folder's list is there, so DVC takes all of its files for sent, and notes it."""
    pull("", None, 0, 0)
    push("", None, prune=False)
    listing = next(name for name in references([Path()], revisions=False) if name.endswith(".dir"))
    cache = find_cache(Path())
    assert cache is not None
    lost = sorted(cache.listing(listing).values())[:2]
    for name in lost:
        team.object(name).unlink()
    push("", None, prune=False)
    assert all(team.object(name).is_file() for name in lost)


def test_an_interrupted_pull_takes_nothing_and_goes_on(
    team: Team, clone: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pull_module, "make_sample_again", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pull("", None, 3, 0)
    assert stored(clone) == 0
    assert not (clone.root / ".privllm/pull").exists()
    result = pull("", None, 0, 0)
    assert (result.files, result.objects, result.taken) == (0, 0, len(team.actions()))


def test_two_clones_push_at_once(team: Team) -> None:
    clones = [team.clone("one"), team.clone("two")]
    for shop in clones:
        assert run(shop, "pull", "--sample", "0").returncode == 0
    count = len(team.actions())
    shutil.rmtree(team.remote)
    command = [sys.executable, "-m", "privllm.cli", "push"]
    pushes = [subprocess.Popen(command, cwd=shop.root, env=environment(), stderr=subprocess.PIPE) for shop in clones]
    for process in pushes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
    assert len(team.actions()) == count
    done = run(team.clone("three"), "pull")
    assert done.returncode == 0, done.stderr
    assert f"{count} taken" in done.stdout


@pytest.mark.parametrize(
    ("commands", "words", "said"),
    [
        (["dvc remote remove storage"], [], "has no remote. `dvc remote add -d storage"),
        (["dvc remote remove storage"], ["-r", "x"], "there is no remote `x`; there is none"),
        (["dvc config --unset core.remote"], [], "dvc remote default storage"),
        ([], ["-r", "strage"], "there is no remote `strage`; there are storage"),
        (["dvc remote modify storage url gs://bucket/folder"], [], "pip install dvc-gs"),
        (["dvc remote modify storage url /sys/nobody/writes/here"], [], "failed: .*/sys/nobody"),
    ],
)
def test_a_remote_that_is_not_there_is_explained(
    team: Team, clone: Workshop, commands: list[str], words: list[str], said: str
) -> None:
    pull("", None, 0, 0)
    (clone.root / ".dvc/config.local").unlink()
    for command in commands:
        clone.run(*command.split())
    done = run(clone, "push", *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(said, done.stderr), done.stderr


def test_only_names_of_actions_are_actions() -> None:
    actions, refused = named_actions({"a/b.json": 1, f"a/{'1' * 32}-{'2' * 32}.json": 2}, "c")
    assert actions == [(f"a/{'1' * 32}-{'2' * 32}.json", "c", "1" * 32, "2" * 32, 2)]
    assert list(refused) == ["a/b.json"]
