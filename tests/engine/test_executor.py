"""A map over shards gives the same results in one process and in many, and survives a killed worker with words."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.executor import INLINE_BYTES, map_shards


def measure(path: Path, factor: int) -> tuple[int, int]:
    return path.stat().st_size * factor, os.getpid()


def die(path: Path, survivor: int) -> None:
    if os.getpid() != survivor:
        os.kill(os.getpid(), signal.SIGKILL)


def refuse(path: Path) -> None:
    raise UserError(f"{path.name} is wrong")


def meet(path: Path) -> int:
    """Returns this process, after waiting until two have been here."""
    (path.parent / f"met-{os.getpid()}").touch()
    for _ in range(1000):
        if len(list(path.parent.glob("met-*"))) >= 2:
            break
        time.sleep(0.01)
    return os.getpid()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (INLINE_BYTES // 4 + i))
    return paths


def test_results_keep_the_order_of_jobs_in_other_processes(files: list[Path]) -> None:
    results = map_shards(measure, [(path, 2) for path in files], "measure")
    assert [size for size, _ in results] == [2 * path.stat().st_size for path in files]
    assert os.getpid() in {pid for _, pid in results}


def test_other_processes_take_their_share(files: list[Path]) -> None:
    assert len(set(map_shards(meet, [(path,) for path in files], "meet"))) == 2


def test_work_apart_leaves_this_process_as_it_was(files: list[Path]) -> None:
    processes = set(map_shards(meet, [(path,) for path in files], "meet", apart=True))
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_little_work_stays_in_this_process(files: list[Path]) -> None:
    for path in files:
        path.write_bytes(b"x")
    assert {pid for _, pid in map_shards(measure, [(path, 1) for path in files], "measure")} == {os.getpid()}


def test_no_jobs() -> None:
    assert map_shards(measure, [], "measure") == []


def test_a_killed_worker_is_explained(files: list[Path]) -> None:
    with pytest.raises(UserError, match="memory"):
        map_shards(die, [(path, os.getpid()) for path in files], "die")


def test_a_users_error_in_a_worker_arrives_whole(files: list[Path]) -> None:
    with pytest.raises(UserError, match="is wrong"):
        map_shards(refuse, [(path,) for path in files], "refuse")


FORKED = """
import os, signal, sys
from pathlib import Path
from privllm.engine.executor import map_shards
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    map_shards(len, [((Path(name),),) for name in sys.argv[1:]], "length", inline_bytes=0)
except KeyboardInterrupt:
    sys.exit(42)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_an_interrupt_while_a_worker_is_forked_is_not_lost(files: list[Path]) -> None:
    """Python only prints what a fork's hooks raise; the build would go on."""
    done = subprocess.run([sys.executable, "-c", FORKED, *map(str, files)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 42, done.stderr
    assert "Traceback" not in done.stderr
