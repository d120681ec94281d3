"""Telemetry and hubs are off before any library could look."""

import os
import subprocess
import sys

from privllm.core.offline import SWITCHES


def test_switches_are_set_here() -> None:
    assert {name: os.environ.get(name) for name in SWITCHES} == SWITCHES


def test_the_command_line_and_every_stage_import_it_first() -> None:
    code = "import os, sys, privllm.cli.app; print(os.environ['HF_HUB_OFFLINE'], 'torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False", "False"]
