"""The probe beside a torch of its own making: what a broken one, and one without a driver, make of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workshop import ROOT

PROBE = ROOT / "privllm/models/torch_probe.py"
VERSION = "__version__ = '9'\nclass version:\n    cuda, hip = {cuda!r}, {hip!r}\n"
NO_DRIVER = """
class cuda:
    @staticmethod
    def is_available(): return False
    @staticmethod
    def init(): raise RuntimeError("Found no NVIDIA driver\\non your system.")
"""
OLD_DRIVER = """
import warnings
class cuda:
    @staticmethod
    def is_available(): warnings.warn("The NVIDIA driver is too old"); return False
    @staticmethod
    def init(): raise RuntimeError("no")
"""
TWO_GPUS = """
class cuda:
    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 2)
    class get_device_properties:
        name, total_memory = "A", 7
        def __init__(self, index): pass
"""
CASES = {
    "broken": ("raise OSError('libc10.so: no such file')", {"error": "OSError: libc10.so: no such file"}),
    "no driver": (
        VERSION.format(cuda="12.8", hip=None) + NO_DRIVER,
        {"version": "9", "cuda": "12.8", "gpus": [], "reason": "Found no NVIDIA driver on your system."},
    ),
    "old driver": (
        VERSION.format(cuda="12.8", hip=None) + OLD_DRIVER,
        {"version": "9", "cuda": "12.8", "gpus": [], "reason": "The NVIDIA driver is too old"},
    ),
    "ROCm": (
        VERSION.format(cuda=None, hip="6.4") + NO_DRIVER,
        {"version": "9", "cuda": "ROCm 6.4", "gpus": [], "reason": "Found no NVIDIA driver on your system."},
    ),
    "CPU": (VERSION.format(cuda=None, hip=None) + NO_DRIVER, {"version": "9", "cuda": "", "gpus": [], "reason": ""}),
    "GPUs": (
        VERSION.format(cuda="12.8", hip=None) + TWO_GPUS,
        {"version": "9", "cuda": "12.8", "gpus": [{"name": "A", "bytes": 7}] * 2, "reason": ""},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_it_says_of(case: str, tmp_path: Path) -> None:
    source, expected = CASES[case]
    (tmp_path / "torch.py").write_text(source)
    done = subprocess.run(
        [sys.executable, str(PROBE)], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout) == expected, done.stderr
