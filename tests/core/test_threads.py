"""OpenMP's threads soon sleep while they wait, in every process of ours, unless somebody chose otherwise."""

import os
import subprocess
import sys

import pytest

from privllm.core.threads import SLEEP

FIRST = (
    "stages",
    "privllm.cli.app",
    "privllm.engine.executor_ray",
)  # what a stage, a command and a worker elsewhere import first


def seen_by(module: str, **chosen: str) -> list[str]:
    """The variables once `module` is imported, and whether what loads OpenMP came along."""
    code = f"import os, sys, {module}; print(*(os.environ.get(name) for name in {list(SLEEP)}), 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name not in SLEEP} | chosen
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.parametrize("module", FIRST)
def test_it_is_set_before_torch_is_loaded(module: str) -> None:
    assert seen_by(module) == ["passive", "1000", "False"]


def test_a_stage_has_it_before_numpy_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, stages; print('numpy' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_what_people_chose_stays_whole() -> None:
    assert seen_by("stages", OMP_WAIT_POLICY="active") == ["active", "None", "False"]
    assert seen_by("stages", GOMP_SPINCOUNT="9") == ["None", "9", "False"]
