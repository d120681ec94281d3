"""A map over shards on a Ray cluster gives what it gives here, even when a machine dies in the middle; trouble is told in words."""

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from privllm.collect.recipe import CollectConfig
from privllm.core.errors import UserError
from privllm.engine import executor_ray
from privllm.engine.executor import INLINE_BYTES, map_shards
from privllm.engine.executor_ray import ExpectedWorkspace, RayExecutor, executor_of, prepare_worker, require_file_states
from privllm.engine.fingerprint import distributions_below, write_fingerprints
from privllm.engine.import_guard import require_hashed_code
from tests.namespaces import works
from tests.workshop import ROOT, environment

SHARDS = 16
DOCUMENTS = 3600
NAMESPACE = ["unshare", "-rn", "bash", "-c", 'ip link set lo up && exec "$0" "$@"']


def square(path: Path) -> int:
    return path.stat().st_size ** 2


def test_without_an_address_this_machine_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("executor: {address: ''}\n")
    assert executor_of("clean") is map_shards
    (tmp_path / "params.yaml").write_text("executor: {address: 'head:6379'}\n")
    assert executor_of("clean") == RayExecutor("head:6379", "clean")


@pytest.mark.parametrize(
    "text", ["{adress: 'head:1'}", "{address: head}", "{address: 'ray://head:10001'}", "{address: 'head:'}"]
)
def test_a_wrong_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(f"executor: {text}\n")
    with pytest.raises(UserError, match=r"executor\.ad"):
        executor_of("clean")


def test_little_work_asks_no_cluster(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    assert RayExecutor("nowhere.invalid:1", "clean")(square, [(tmp_path / "a",), (tmp_path / "b",)], "square") == [1, 1]


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'privllm\[ray\]'"):
        RayExecutor("127.0.0.1:1", "clean")(square, [(tmp_path,), (tmp_path,)], "square", 0)


@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray (`make ray`)")
def test_where_nothing_listens_it_says_so_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1.*cannot be reached"):
        RayExecutor("127.0.0.1:1", "clean")(square, [(tmp_path,), (tmp_path,)], "square", 0)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExpectedWorkspace:
    """A repository of one stage, as this process sees it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/one.py").write_text("import numpy\n")
    shutil.copyfile(ROOT / "requirements.lock", tmp_path / "requirements.lock")
    write_fingerprints(Path(), Path("data/fingerprint"))
    (tmp_path / "beacon").touch()
    # The folder does not hold privllm itself, which the check of code would refuse.
    monkeypatch.setattr(executor_ray, "require_hashed_code", lambda root: None)
    return ExpectedWorkspace(str(tmp_path), "beacon", executor_ray._package(), "one")


def test_a_machine_that_sees_the_same_may_work(workspace: ExpectedWorkspace) -> None:
    prepare_worker(workspace)


def test_a_machine_that_loaded_code_from_elsewhere_is_named(
    workspace: ExpectedWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real check of code refuses a privllm that is loaded from another folder than the repository's.
    package = Path(workspace.root, "privllm/__init__.py")
    package.parent.mkdir()
    package.touch()
    monkeypatch.setattr(executor_ray, "require_hashed_code", require_hashed_code)
    with pytest.raises(UserError, match=f"machine {os.uname().nodename} .*was loaded from"):
        prepare_worker(workspace)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"root": "/nowhere"}, "shared file system"),
        ({"beacon": "gone"}, "gone"),
        ({"package": "/other/__init__.py"}, "other privllm"),
    ],
)
def test_a_machine_that_sees_something_else_is_named(
    workspace: ExpectedWorkspace, change: dict[str, str], why: str
) -> None:
    with pytest.raises(UserError, match=f"machine {os.uname().nodename} .*{why}"):
        prepare_worker(workspace._replace(**change))


def test_a_machine_with_other_libraries_is_named(workspace: ExpectedWorkspace) -> None:
    file = Path("data/fingerprint/one.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"libraries": {"numpy": "0.0.1"}}))
    with pytest.raises(UserError, match=r"machine .* numpy .* is installed"):
        prepare_worker(workspace)


def test_an_old_version_of_a_file_is_not_worked_on(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("new")
    states = executor_ray._file_states((path, (path,)))
    assert len(states) == 2
    require_file_states(states, 0)
    path.write_text("newer")
    with pytest.raises(UserError, match="does not see"):
        require_file_states(states, 0)


def test_ray_is_in_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where work is done; and with it, what it needs would count for whoever has it installed."""
    monkeypatch.setattr("privllm.engine.fingerprint._providers", lambda: {"ray": ["ray"], "ftfy": ["ftfy"]})
    assert distributions_below({"ray", "ftfy"}) == {"ftfy", "wcwidth"}


def make_repository(root: Path) -> None:
    """Our code, 16 shards of documents, and everything that `clean` needs but `.dvc`, so that it works in full."""
    for name in ("privllm", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "requirements.lock"):
        shutil.copyfile(ROOT / name, root / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    assert 2 ** CollectConfig().shard_bits == SHARDS
    (root / "params.yaml").write_text(
        "executor: {}\n" + yaml.safe_dump({k: v for k, v in params.items() if k != "executor"})
    )
    sources = root / "data/sources"
    sources.mkdir(parents=True)
    words = (ROOT / "README.md").read_text("utf-8").split()
    chosen = random.Random(0)
    with (sources / "manual.jsonl").open("w") as file:
        for i in range(DOCUMENTS):
            # Characters that do not compress, for little work stays here; every fourth document has none and is kept.
            codes = [
                "".join(chr(chosen.randrange(0x4E00, 0x9FA5)) for _ in range(8)) for _ in range(130 if i % 4 else 0)
            ]
            text = " ".join(chosen.choices(words, k=100) + codes) + f". Write to no.{i}@example.com."
            file.write(json.dumps({"text": text}) + "\n")
    (root / ".dvc").mkdir()
    for words in (
        "fingerprint data/fingerprint reports/fingerprint.json",
        "collect data/sources data/collect reports/collect.json",
    ):
        run(root, "-m", *f"stages.{words}".split())


def run(root: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=root, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def files(root: Path) -> dict[str, bytes]:
    paths = [*sorted((root / "data/clean").rglob("*")), root / "reports/clean.json"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray (`make ray`)")
@pytest.mark.proof
@pytest.mark.build
@pytest.mark.skipif(
    not works(*NAMESPACE, "true"), reason="needs a network namespace with a loopback interface (`unshare -rn`, `ip`)"
)
def test_two_nodes_of_which_one_is_killed_make_the_same_bytes(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    make_repository(root)
    assert sum(path.stat().st_size for path in (root / "data/collect").glob("*.parquet")) > INLINE_BYTES
    shutil.copytree(root, tmp_path / "local")
    run(tmp_path / "local", "-m", "stages.clean", "data/collect", "data/clean", "reports/clean.json")
    command = [
        *NAMESPACE,
        "timeout",
        "-k",
        "1",
        "600",
        sys.executable,
        str(Path(__file__).with_name("cluster_run.py")),
        str(root),
    ]
    done = subprocess.run(command, env=environment(PYTHONPATH=str(root)), capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["killed"]["code"] == 0
    assert 0 < said["killed"]["finished_at_kill"] < SHARDS
    assert said["killed"]["jobs"] == SHARDS < said["killed"]["attempts"]
    assert (
        len(files(tmp_path / "local")) == 2 * SHARDS + 3
    )  # kept, dropped, the lists of these and of the flagged, the report
    assert files(root) == files(tmp_path / "local")
    assert said["left"] == []
    assert said["refuse"].endswith(".parquet is wrong")
    assert "memory ran out" in said["die"]
    assert "numpy" in said["other_library"]
    assert "machine" in said["other_library"]
