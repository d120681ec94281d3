"""What people do wrong ends in one paragraph that says where and what to do, an exit code, and nothing lost.

Each case runs a real stage command in a copy of the repository.
"""

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workshop import ROOT, Workshop, environment, make_workshop

PAUSE = ROOT / "tests/pause"
PATIENCE = 300.0  # seconds, for a machine that does much else; nothing waits that long

MAY_MOUNT = (
    subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    shop = make_workshop(tmp_path_factory.mktemp("errors") / "repo")
    shop.repro("dedup")
    shop.commit("prepared")
    return shop


@pytest.fixture
def shop(prepared: Workshop):
    yield prepared
    prepared.run("git", "reset", "-q", "--hard")
    prepared.run("dvc", "checkout", "-q", "--force", "--allow-missing")


def explained(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command failed, in words, without a traceback."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_misspelt_parameter(shop: Workshop) -> None:
    shop.set("collect.max_megabytes", 64)
    shop.edit("params.yaml", "max_megabytes", "max_megabites")
    explained(
        shop.run("dvc", "repro", "collect", check=False),
        "collect.max_megabites",
        "params.yaml, line",
        "collect.max_megabytes",
    )


def test_a_wrongly_typed_parameter(shop: Workshop) -> None:
    shop.set("collect.max_megabytes", "plenty")
    explained(shop.run("dvc", "repro", "collect", check=False), "collect.max_megabytes", "line", "plenty")


LATE = "gate.evidens", "params.yaml, line", "gate.evidence"


@pytest.mark.parametrize("command", ["dvc repro", "dvc repro clean", "python -m privllm.cli plan"])
def test_what_the_last_stage_would_refuse_is_said_by_the_first(shop: Workshop, command: str) -> None:
    shop.set("gate.evidence", "difference")
    shop.edit("params.yaml", "evidence: difference", "evidens: difference")
    shop.set("collect.max_megabytes", 3)  # so that DVC starts a stage before the gate
    done = shop.run(*command.split(), check=False)
    explained(done, *LATE)
    assert "Running stage 'clean'" not in done.stdout


def test_an_experiment_with_a_parameter_that_there_is_not(shop: Workshop) -> None:
    done = shop.run("dvc", "exp", "run", "-S", "+pretrain.causal.lr=0.1", "-S", "+collect.max_megabytes=3", check=False)
    explained(done, "pretrain.causal.lr", "params.yaml, line")
    assert "Running stage 'clean'" not in done.stdout


def test_an_experiment_sets_a_parameter_that_params_yaml_leaves_out(shop: Workshop) -> None:
    shop.run("dvc", "exp", "run", "-S", "+collect.shard_bits=1", "-S", "split.test=0.2", "collect")
    params = yaml.safe_load((shop.root / "params.yaml").read_text("utf-8"))
    assert (params["collect"], params["split"]["test"]) == ({"shard_bits": 1}, 0.2)
    assert len(list((shop.root / "data/collect").glob("*.parquet"))) == 2


def test_empty_sources(shop: Workshop) -> None:
    for path in (shop.root / "data/sources").rglob("*"):
        if path.is_file():
            path.unlink()
    explained(shop.run("dvc", "repro", "collect", check=False), "data/sources", "put")


def test_only_undecodable_files(shop: Workshop) -> None:
    for path in (shop.root / "data/sources").rglob("*"):
        if path.is_file():
            path.write_bytes(random.Random(path.name).randbytes(600))
    explained(shop.run("dvc", "repro", "collect", check=False), "data/sources")


def test_a_corpus_too_small_to_split(shop: Workshop) -> None:
    for path in (shop.root / "data/sources").rglob("*"):
        if path.is_file() and path.name != "heapq.html":
            path.unlink()
    explained(shop.run("dvc", "repro", "pack", check=False), "split")


def test_debug_shows_the_traceback(shop: Workshop) -> None:
    shop.set("collect.max_megabytes", "plenty")
    done = shop.run("dvc", "repro", "collect", check=False, PRIVLLM_DEBUG="1")
    assert "Traceback" in done.stderr


def test_code_that_changed_since_its_fingerprint_does_not_run(shop: Workshop) -> None:
    path = shop.root / "privllm/core/seed.py"
    path.write_text(path.read_text("utf-8") + "\nCHANGED = 1\n", "utf-8")
    command = "python -m stages.collect data/sources data/collect reports/collect.json".split()
    explained(shop.run(*command, check=False), "privllm.core.seed", "dvc repro collect")


@pytest.mark.skipif(not MAY_MOUNT, reason="this kernel does not let a user mount a small disk")
def test_a_full_disk(shop: Workshop) -> None:
    size = sum(path.stat().st_size for path in (shop.root / "data/dedup").rglob("*.parquet"))
    command = "python -m stages.dedup data/clean data/promoted/sides data/dedup reports/dedup.json"
    script = f"mount -t tmpfs -o size={size // 3 // 4096 * 4096} tmpfs data/dedup && exec {command}"
    done = shop.run("unshare", "-rm", "sh", "-c", script, check=False)
    explained(done, "disk is full", "Nothing is lost")


@pytest.mark.parametrize(
    "point", ["os.mkdir data/{}", "os.rename data/{}", "open reports/{}.json"], ids=["begins", "writes", "ends"]
)
@pytest.mark.parametrize("stage", ["collect", "dedup"])
def test_ctrl_c_is_safe(shop: Workshop, tmp_path: Path, stage: str, point: str) -> None:
    """Interrupted where the stage itself says that it has come to, then repeated: the same bytes as without."""
    lock, fifo = (shop.root / "dvc.lock").read_bytes(), tmp_path / "paused"
    os.mkfifo(fifo)
    paused = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    variables = {
        "PYTHONPATH": str(PAUSE),
        "PRIVLLM_PAUSE": f"{stage} {point.format(stage)}",
        "PRIVLLM_PAUSED": str(fifo),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", stage],
        cwd=shop.root, env=environment() | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert select.select([paused], [], [], PATIENCE)[0], f"{stage} never came to: {point}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        os.close(paused)
    assert process.returncode != 0
    assert f"{stage} was interrupted. Nothing is lost" in err
    assert "Traceback" not in out + err
    shop.repro("--force", "--single-item", stage)
    assert (shop.root / "dvc.lock").read_bytes() == lock


def test_stage_help_names_its_paths(shop: Workshop) -> None:
    output = shop.run("python", "-m", "stages.collect", "--help").stdout
    for word in ("sources", "out", "report"):
        assert word in output
