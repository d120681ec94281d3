"""An audit passes on what was built, finds what was tampered with, wherever it lies, and leaves everything as it was."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from privllm.core.errors import UserError
from privllm.core.printable import say
from privllm.engine.cache import Cache
from privllm.engine.digests import md5_of
from privllm.engine.pipeline import declared_stages
from privllm.engine.store import Before, Store, Unkeyed, open_store
from privllm.manage import audit as audit_module
from privllm.manage.audit import NOTHING, Audited, AuditStore, audit, audit_stage, load_main, table, uses_store
from tests.workshop import ROOT, Workshop, environment, make_workshop

NAMES = "abcde"


def shout(out: Path, source: Path, accent: Unkeyed, before: Before | None) -> dict[str, int]:
    """`source` in capitals; `accent` stands for what a result should not depend on, and would if there were a mistake."""
    (out / "deep").mkdir()
    (out / source.name).write_text(source.read_text().upper() + accent.value.read_text())
    (out / "deep" / source.name).write_text(source.read_text()[::-1])
    return {"characters": len(source.read_text()), "resumed": int(before is not None)}


def states(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file below `folder`: when it was written, its mode, its MD5."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".git" not in path.relative_to(folder).parts:
            found[path.relative_to(folder).as_posix()] = path.stat().st_mtime_ns, path.stat().st_mode, md5_of(path)
    return found


def tamper(path: Path) -> None:
    """One byte more, as quietly as it can be done."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class Bench:
    """Five sources, a cache, and a record of what a map made of them."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache, self.accent = root, Cache(root / "cache", ("copy",)), root / "accent"
        (root / "in").mkdir()
        for name in NAMES:
            (root / "in" / name).write_text(f"text {name}")
        self.accent.write_text("!")

    def jobs(self) -> list[tuple[Any, ...]]:
        return [(self.root / "in" / name, Unkeyed(self.accent)) for name in NAMES]

    def build(self) -> list[Any]:
        return Store(self.cache, "1").map(shout, self.jobs(), self.root / "built", "shout", resume=True)

    def audit(self, shards: int = 2, seed: int = 0) -> tuple[Audited, list[Any]]:
        found = Audited("loud")
        store = AuditStore(self.cache, "1", found, shards, seed)
        return found, store.map(shout, self.jobs(), self.root / f"audited{shards}-{seed}", "shout", resume=True)

    def action(self, name: str) -> Path:
        """The file in which it is recorded what became of a source."""
        store = Store(self.cache, "1")
        key = store.key_of(shout, (self.root / "in" / name, Unkeyed(None)))
        return self.cache.folder / "privllm/actions" / key[:2] / f"{key[2:]}.json"

    def record(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        action = json.loads(self.action(name).read_text())
        change(action)
        self.action(name).write_text(json.dumps(action))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.build()
    return made


@pytest.mark.parametrize("shards", [0, 2, 5, 9])
def test_what_was_built_passes_and_nothing_is_touched(bench: Bench, shards: int) -> None:
    before = states(bench.root)
    found, values = bench.audit(shards)
    assert found.faults == []
    assert (found.shards, found.remade) == (5, min(shards, 5))
    out = f"audited{shards}-0"
    after = states(bench.root)
    assert {path: state for path, state in after.items() if not path.startswith(out)} == before
    made = {path.removeprefix(f"{out}/"): state[2] for path, state in after.items() if path.startswith(out)}
    assert made == {
        path.removeprefix("built/"): state[2] for path, state in before.items() if path.startswith("built/")
    }
    assert values == bench.build()


@pytest.mark.parametrize("shards", [0, 5])
def test_an_object_with_other_bytes_is_found_and_made_again(bench: Bench, shards: int) -> None:
    name = md5_of(bench.root / "built/c")
    tamper(bench.cache.path(name))
    found, _ = bench.audit(shards)
    (fault,) = found.faults
    assert (fault.file, fault.recorded, fault.recomputed) == (
        str(bench.cache.path(name)),
        name,
        md5_of(bench.cache.path(name)),
    )
    assert found.remade == max(shards, 1)
    assert md5_of(bench.root / f"audited{shards}-0/c") == name, "what follows is judged by the right bytes"


def test_a_lost_object_is_no_fault(bench: Bench) -> None:
    bench.cache.path(md5_of(bench.root / "built/c")).unlink()
    found, values = bench.audit(0)
    assert (found.faults, found.remade, len(values)) == ([], 1, 5)


def test_a_recorded_value_is_compared(bench: Bench) -> None:
    bench.record("b", lambda action: action["value"].update(characters=7))
    found, values = bench.audit(5)
    assert [fault.file for fault in found.faults] == ["shout[1]: result"]
    assert values[1] == {"characters": 6, "resumed": 0}


def test_a_recorded_file_is_compared(bench: Bench) -> None:
    def swap(action: dict[str, Any]) -> None:
        action["files"]["b"] = [md5_of(bench.root / "built/a"), action["files"]["b"][1]]
        del action["files"]["deep/b"]

    bench.record("b", swap)
    found, _ = bench.audit(5)
    assert {(fault.file, fault.recorded, fault.recomputed) for fault in found.faults} == {
        ("shout[1]: b", md5_of(bench.root / "built/a"), md5_of(bench.root / "built/b")),
        ("shout: deep/b", NOTHING, md5_of(bench.root / "built/deep/b")),
    }


def test_an_unreadable_record_is_a_fault(bench: Bench) -> None:
    bench.action("b").write_text("{")
    found = Audited("loud")
    with pytest.raises(UserError, match="1 of 5 shards"):
        AuditStore(bench.cache, "1", found, 5, 0).map(shout, bench.jobs(), bench.root / "out", "shout", resume=True)
    assert [fault.file for fault in found.faults] == [str(bench.action("b"))]


def test_what_is_not_recorded_is_not_judged(bench: Bench) -> None:
    (bench.root / "in/b").write_text("edited, and not built yet")
    with pytest.raises(UserError, match=r"1 of 5 shards .* are not recorded"):
        bench.audit()


def test_a_result_that_depends_on_what_is_no_part_of_its_key_is_found(bench: Bench) -> None:
    bench.accent.write_text("?")
    found, _ = bench.audit(2)
    assert len(found.faults) == found.remade == 2
    assert {fault.recorded for fault in found.faults} <= {md5_of(bench.root / f"built/{name}") for name in NAMES}


def test_the_seed_chooses(bench: Bench) -> None:
    bench.accent.write_text("?")  # so that every shard that is made again tells
    chosen = {seed: tuple(fault.file for fault in bench.audit(2, seed)[0].faults) for seed in range(12)}
    assert chosen[3] == tuple(fault.file for fault in bench.audit(2, 3)[0].faults)
    assert {file for files in chosen.values() for file in files} == {
        f"shout[{i}]: {name}" for i, name in enumerate(NAMES)
    }


LOUD = {
    "cmd": "python -m stages.loud in data/loud reports/loud.json",
    "deps": ["in"],
    "outs": ["data/loud"],
    "metrics": [{"reports/loud.json": {"cache": False}}],
}


class Stage:
    """The stage `loud` in the working directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"loud": LOUD}}))
        (root / "params.yaml").write_text("{}")
        (root / ".dvc").mkdir()
        (root / "data/fingerprint").mkdir(parents=True)
        (root / "data/fingerprint/loud.json").write_text("{}")
        (root / "in").mkdir()
        for name in NAMES:
            (root / "in" / name).write_text(f"text {name}")
        (root / "accent").write_text("!")
        self.main(Path("in"), Path("data/loud"), Path("reports/loud.json"), open_store("loud"))

    @staticmethod
    def main(source: Path, out: Path, report: Path, store: Store) -> None:
        jobs = [(path, Unkeyed(Path("accent"))) for path in sorted(source.iterdir())]
        results = store.map(shout, jobs, out, "shout", resume=True)
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(results))
        say("loud left out one of six files")

    def audit(self, *differing: str) -> Audited:
        cache = Cache(self.root / ".dvc/cache")
        return audit_stage("loud", LOUD, lambda code, found: AuditStore(cache, code, found, 1, 0), set(differing))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit_module, "load_main", lambda name: Stage.main)
    monkeypatch.setattr(audit_module, "check_fingerprint", lambda name: set())
    monkeypatch.setattr(audit_module, "require_hashed_code", lambda root: None)
    return Stage(tmp_path)


def test_a_stage_passes_and_the_workspace_is_as_it_was(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before = states(stage.root)
    found = stage.audit()
    assert capsys.readouterr().out == ""  # what a stage says when it is built is no news here
    assert (found.faults, found.skipped, found.shards, found.remade, found.files) == ([], "", 5, 1, 11)
    assert states(stage.root) == before
    assert "the same bytes" in found.line()


def test_files_of_the_workspace_are_compared(stage: Stage) -> None:
    tamper(stage.root / "data/loud/b")
    tamper(stage.root / "reports/loud.json")
    (stage.root / "data/loud/deep/c").unlink()
    (stage.root / "data/loud/more").write_text("")
    found = stage.audit()
    assert {fault.file: NOTHING in fault[2:] for fault in found.faults} == {
        "data/loud/b": False,
        "reports/loud.json": False,
        "data/loud/deep/c": True,
        "data/loud/more": True,
    }
    assert "4 DIFFERENT" in found.line()
    assert all(fault.file in "\n".join(table(found.faults)) for fault in found.faults)


@pytest.mark.parametrize("why", ["not recorded", "its input in/b", "reports/loud.json is missing", "is not the code"])
def test_a_stage_that_cannot_be_judged_is_skipped_in_words(
    stage: Stage, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise UserError("`stages.loud` is not the code")

    if why == "not recorded":
        (stage.root / "in/b").write_text("edited")
    elif why == "reports/loud.json is missing":
        (stage.root / "reports/loud.json").unlink()
    elif why == "is not the code":
        monkeypatch.setattr(audit_module, "check_fingerprint", refuse)
    found = stage.audit(*["in/b"] if why == "its input in/b" else [])
    assert why in found.skipped
    assert why in found.line()
    assert found.faults == []
    assert not audit_module.AUDIT_FOLDER.exists()


def test_an_audit_of_nothing_is_an_error(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "uses_store", lambda name: True)
    assert [found.stage for found in audit(1, 0)] == ["loud"]
    (stage.root / "in/b").write_text("other")
    with pytest.raises(UserError, match="nothing could be audited"):
        list(audit(1, 0))
    (stage.root / "dvc.yaml").unlink()
    with pytest.raises(UserError, match="root of the repository"):
        list(audit(1, 0))


def test_own_stages_between_ours_are_passed_over(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "uses_store", lambda name: True)
    own = {"cmd": ["cat in/b > mine", "echo done"], "outs": ["mine"]}
    many = {
        "matrix": {"x": [1, 2], "y": ["a"]},
        "cmd": "python mine.py ${item.x} ${item.y}",
        "outs": ["mine/${item.x}"],
    }
    (stage.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"before": own, "loud": LOUD, "after": many}}))
    assert [(found.stage, found.skipped) for found in audit(1, 0)] == [("loud", "")]


def test_the_stages_that_use_the_store_are_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    data = ["collect", "clean", "dedup", "validate", "annotate", "tasks", "start", "tokenizer", "pack", "guide"]
    assert [stage for stage in declared_stages() if uses_store(stage)] == [
        *data,
        *(f"evaluate@{family}" for family in ("causal", "masked", "seq2seq")),
        "gate",
    ]
    assert load_main("clean").__module__ == "stages.clean"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run it in a new process"):
        load_main("clean")


def test_stages_are_the_projects_also_for_the_installed_command(tmp_path: Path) -> None:
    """Which has neither the project on its path nor a package `stages` beside it."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "stages/own.py").write_text("def main() -> None: ...\n")
    statement = "from privllm.manage.audit import load_main; print(load_main('own').__module__)"
    command = [sys.executable, "-P", "-c", statement]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout == "stages.own\n", done.stderr


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = make_workshop(tmp_path_factory.mktemp("audit") / "repo")
    made.repro("pack")
    made.edit("data/sources/notes.md", "# Notes", "# Other notes")  # so that some shards were made from what was before
    made.repro("pack")
    return made


def test_real_stages(shop: Workshop) -> None:
    """They pass, nothing changes, and what is spoilt in the cache, in the record or in the workspace is found."""

    def audited(*arguments: str) -> tuple[int, list[str]]:
        done = shop.run("python", "-m", "privllm.cli", "audit", "--seed", "1", *arguments, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout.splitlines()

    before = states(shop.root)
    code, lines = audited("--shards", "64")
    assert code == 0, lines
    assert [line.split()[0] for line in lines if "the same bytes" in line] == [
        "collect",
        "clean",
        "dedup",
        "start",
        "tokenizer",
        "pack",
    ]
    assert [line.split()[0] for line in lines if "skipped" in line] == [
        *("validate", "annotate", "tasks", "guide"),
        *(f"evaluate@{family}" for family in ("causal", "masked", "seq2seq")),
        "gate",
    ]
    assert states(shop.root) == before

    chance = random.Random(2)
    cache = shop.root / ".dvc/cache"
    packed = chance.choice(sorted((shop.root / "data/pack/train").iterdir()))
    cases = {
        packed.relative_to(shop.root).as_posix(): packed,
        f"files/md5/{(name := md5_of(packed))[:2]}/{name[2:]}": cache / "files/md5" / name[:2] / name[2:],
    }
    for words, path in cases.items():
        status = path.read_bytes(), path.stat().st_mode
        tamper(path)
        code, lines = audited("--shards", "0")
        assert code == 1
        assert words in lines[-1], lines
        path.chmod(0o644)
        path.write_bytes(status[0])
        path.chmod(status[1])

    # Of this build: another one of this module packed with another tokenizer.
    tokenizer = md5_of(shop.root / "data/tokenizer/tokenizer.json")
    recorded = {path: path.read_text() for path in sorted((cache / "privllm/actions").rglob("*.json"))}
    action = next(path for path, text in recorded.items() if '"tokens train"' in text and tokenizer in text)
    kept = action.read_text()
    action.write_text(kept.replace('"tokens train": ', '"tokens train": 1'))
    for shards, words in (("0", "reports/pack.json"), ("64", "pack_shard")):
        code, lines = audited("--shards", shards)
        assert (code, any(words in line for line in lines[-2:])) == (1, True), lines
    action.write_text(kept)
