"""Processes of several machines: by SLURM's srun, which is a stand-in here, and by torchrun."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.models.device_config import DevicesConfig, chosen, use
from privllm.train import launch
from tests.train import fake_srun
from tests.train.two_processes import Unbroken
from tests.workshop import ROOT

pytestmark = pytest.mark.training  # in processes of its own, which tests/lanes.py does not see
NIGHTLY = bool(os.environ.get("PRIVLLM_NIGHTLY"))


def in_slurm(folder: Path) -> dict[str, str]:
    """The environment of a job's script on its first node."""
    fake_srun.install(folder / "bin")
    of_job = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "localhost", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return os.environ | of_job | {"PATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def stage(unbroken: Unbroken, place: Path, *words: str) -> list[str]:
    shop = unbroken.corpus.rows.parent
    return [sys.executable, "-m", "tests.train.shared_stage", "pretrain", str(shop), str(place), *words]


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_srun_trains_on_all_nodes_and_a_dead_one_is_named(unbroken: Unbroken, tmp_path: Path) -> None:
    """The next run goes on, and ends in the bytes of two local processes."""
    environment = in_slurm(tmp_path)
    died = run(stage(unbroken, tmp_path / "nodes", "nodes=2", "dies=1:7"), environment)
    assert died.returncode == 1
    assert "srun: error: node1: task 1: exit code -9" in died.stderr
    assert "error: srun ended with code 1 (srun: error: node1: task 1" in died.stderr
    assert "Where a machine has died, run the same command again" in died.stderr
    done = run(stage(unbroken, tmp_path / "nodes", "nodes=2"), environment)
    assert done.returncode == 0, done.stderr
    assert "goes on from step 7/40" in done.stderr
    assert done.stdout.count("validation_loss") == 1  # one process of two writes the report
    local = run(stage(unbroken, tmp_path / "local", "devices=2"), dict(os.environ) | {"OMP_NUM_THREADS": "1"})
    assert local.returncode == 0, local.stderr
    weights = "out/model.safetensors"
    assert (tmp_path / "nodes" / weights).read_bytes() == (tmp_path / "local" / weights).read_bytes()


@pytest.mark.skipif(not NIGHTLY, reason="nightly: one more training")
def test_a_job_that_is_cancelled_saves_its_last_step(unbroken: Unbroken, tmp_path: Path) -> None:
    environment = in_slurm(tmp_path)
    command = stage(unbroken, tmp_path / "nodes", "nodes=2", "strategy=fsdp")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "step 1/40" in line:
                process.send_signal(signal.SIGINT)
                break
        time.sleep(0.1)
        process.stderr.read()
    assert process.returncode not in (0, None)
    done = run(stage(unbroken, tmp_path / "nodes", "nodes=2", "strategy=fsdp"), environment)
    assert done.returncode == 0, done.stderr
    assert "begins at step 0/40" not in done.stderr


def test_torchrun_starts_as_many_as_params_say(unbroken: Unbroken, tmp_path: Path) -> None:
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        *stage(unbroken, tmp_path / "run")[1:],
    ]
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    wrong = run([*torchrun, "devices=3"], environment)
    assert wrong.returncode
    assert "2 processes were started, but `train` in params.yaml asks for 3 (devices 3 x nodes 1)" in wrong.stderr
    if NIGHTLY:
        right = run([*torchrun, "devices=2"], environment)
        assert right.returncode == 0, right.stderr
        assert (tmp_path / "run/out/model.safetensors").is_file()


@pytest.mark.parametrize("job", [{}, {"SLURM_JOB_ID": "7"}])
def test_several_nodes_without_anything_that_starts_them_are_refused(
    job: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SLURM_JOB_ID", "WORLD_SIZE", launch.BY_SRUN):
        monkeypatch.delenv(name, raising=False)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tmp_path))  # without srun
    before = chosen()
    use(DevicesConfig(nodes=4))
    try:
        with pytest.raises(UserError, match=r"`train.nodes` in params.yaml is 4, but nothing here starts processes"):
            launch.join(4)
    finally:
        use(before)


@pytest.mark.parametrize(("given", "missing"), [({"WORLD_SIZE": "2"}, "RANK"), ({launch.BY_SRUN: "1"}, "SLURM_PROCID")])
def test_half_of_a_launcher_is_named(given: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", launch.BY_SRUN):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"but {missing} is not"):
        launch.join(2)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", " (by SIGKILL)"),
        ("import sys; print('no room\\nnote: few tokens', file=sys.stderr); sys.exit(1)", " (no room)"),
        ("import sys; print('note: few tokens', file=sys.stderr); sys.exit(1)", ""),
    ],
)
def test_why_a_process_has_ended_is_no_note_of_it(program: str, said: str) -> None:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-c", program], stderr=log)
        process.wait()
        assert launch.last_words([launch.Peer(process, log)]) == said


def test_a_process_has_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 8)
    assert launch.local_rank() == 5
    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 1)  # the only one that it sees
    assert launch.local_rank() == 0
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.setattr(launch, "own_gpu", lambda: 3)
    assert launch.local_rank() == 3, "one that trains alone takes a free one"
