"""schemathesis (https://schemathesis.readthedocs.io), in an environment of its own, against the OpenAPI document. Nightly.

It sends what the document allows and what it forbids, and looks at every answer: no 5xx, and all as the document says. Two of its checks
are left out: `positive_data_acceptance`, for a request of the right form may still say what no model can do (a last message of the
system's, more tokens than there are), and `ignored_auth`, for no token exists here, so that any is as good as none.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.serve.app import chat_app
from privllm.serve.database import Database
from privllm.serve.engine.base import Engine
from privllm.serve.engine.embedding import EmbeddingEngine
from privllm.serve.engine.local import LocalEngine
from tests.serve.environments import environment
from tests.serve.live import live

NIGHTLY = os.environ.get("PRIVLLM_NIGHTLY") == "1"
EXAMPLES = 25  # for each call, of each kind
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NIGHTLY, reason="it installs schemathesis: PRIVLLM_NIGHTLY=1 runs it"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = environment(tmp_path_factory.mktemp("schemathesis") / "environment", "schemathesis>=4")
    return python.with_name("schemathesis")


def fuzzed(program: Path, engine: Engine, folder: Path) -> None:
    """Run schemathesis against a server of `engine`, which must find nothing."""
    with live(chat_app(engine, Database(folder / "p.sqlite"))) as url:
        command = [
            *(program, "run", f"{url}/openapi.json", "--checks", "all", "--seed", "20", "--workers", "1"),
            *("--exclude-checks", "positive_data_acceptance,ignored_auth", "--max-examples", str(EXAMPLES)),
            *("--generation-database", "none", "--request-timeout", "60", "--warnings", "off"),
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout, done.stdout[-2000:]


def test_a_model_that_writes(program: Path, exported: Callable[..., Path], tmp_path: Path) -> None:
    fuzzed(program, LocalEngine.open(exported(tuned=True)), tmp_path)


def test_a_model_that_embeds(program: Path, exported_masked: Path, tmp_path: Path) -> None:
    fuzzed(program, EmbeddingEngine.open(exported_masked), tmp_path)
