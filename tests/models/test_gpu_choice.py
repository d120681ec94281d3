"""Processes on one machine take GPUs that no other has."""

import subprocess
import sys
from pathlib import Path

import pytest

from privllm.models import gpu_choice
from tests.workshop import ROOT

TAKE = "import sys; from privllm.models.gpu_choice import free_gpu; print(free_gpu(['a', 'b']), flush=True); sys.stdin.read()"


def taker(cache: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", TAKE],
        cwd=ROOT,
        env={"XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_each_process_takes_one_that_is_free_until_it_ends(tmp_path: Path) -> None:
    first, second, third = (taker(tmp_path) for _ in range(3))
    taken = []
    for process in (first, second, third):
        assert process.stdout
        taken.append(int(process.stdout.readline()))
    assert sorted(taken) == [0, 0, 1], "who comes when all are taken shares the first"
    for process in (first, second, third):
        process.kill()
        process.communicate()
    again = taker(tmp_path)
    assert again.communicate("", timeout=30)[0] == "0\n"


def test_where_nothing_can_be_locked_it_is_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert gpu_choice.free_gpu(["a", "b"]) == 0
