"""LangChain and LlamaIndex, in an environment of their own, talk to a server of ours. Nightly, for it installs them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.serve.app import chat_app
from privllm.serve.database import Database
from privllm.serve.engine.local import LocalEngine
from tests.serve import frameworks
from tests.serve.environments import environment
from tests.serve.live import live

PACKAGES = ("langchain-openai", "llama-index-llms-openai-like")
NIGHTLY = os.environ.get("PRIVLLM_NIGHTLY") == "1"


@pytest.mark.slow
@pytest.mark.skipif(not NIGHTLY, reason="it installs LangChain and LlamaIndex: PRIVLLM_NIGHTLY=1 runs it")
def test_langchain_and_llama_index_talk_to_it(exported: Callable[..., Path], tmp_path: Path) -> None:
    python = environment(tmp_path / "environment", *PACKAGES)
    with live(chat_app(LocalEngine.open(exported(tuned=True)), Database(tmp_path / "p.sqlite"))) as url:
        command = [python, frameworks.__file__, f"{url}/v1", "handbook-1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "both talk to it\n"), done.stderr[-3000:]
