"""A server that stops: whoever is being answered is told why the reply ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from privllm.serve import stopping
from privllm.serve.app import chat_app
from privllm.serve.database import Database
from privllm.serve.engine.local import LocalEngine
from privllm.serve.engine.remote import RemoteEngine
from tests.serve.fakes import Parrot
from tests.serve.live import live
from tests.workshop import ROOT

STOPS = "this server is stopping, so the reply ends here."
SERVER = """
import sys
from pathlib import Path
from privllm.serve import stopping
from privllm.serve.app import chat_app, listen
from privllm.serve.database import Database
from tests.serve.test_stopping import talkative

stopping.SHUTDOWN_SECONDS = 0.5
app = chat_app(talkative(Path(sys.argv[1])), Database(Path(sys.argv[2])))
listen(app, "127.0.0.1", 0, lambda url: print(url, flush=True))
"""


def talkative(folder: Path) -> LocalEngine:
    """An engine whose replies last longer than any test."""
    engine = LocalEngine.open(folder)
    engine._prompt_format.end_ids = frozenset()
    step = engine._scheduler.step

    def slow_step() -> None:
        time.sleep(0.02)
        step()

    engine._scheduler.step = slow_step  # type: ignore[method-assign]
    return engine


def asked(stream: bool) -> dict[str, Any]:
    return {"model": "handbook-1", "prompt": "the page", "max_tokens": 4096, "stream": stream}


@pytest.mark.slow
@pytest.mark.parametrize("sent", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_replies_end_with_a_reason_and_the_log_with_none(
    sent: list[int], exported: Callable[..., Path], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SERVER, str(exported()), str(tmp_path / "people.sqlite")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        url = server.stdout.readline().strip()
        waiting: list[httpx.Response] = []
        whole = threading.Thread(
            target=lambda: waiting.append(httpx.post(f"{url}v1/completions", json=asked(False), timeout=60))
        )
        whole.start()
        with httpx.stream("POST", f"{url}v1/completions", json=asked(True), timeout=60) as response:
            lines = response.iter_lines()
            assert '"text"' in next(lines)
            for number in sent:
                os.kill(server.pid, number)
            said = [line for line in lines if line]
        whole.join()
        _, log = server.communicate(timeout=60)
    assert json.loads(said[-1].removeprefix("data: "))["error"]["message"] == STOPS
    assert (waiting[0].status_code, waiting[0].json()["error"]["message"]) == (503, STOPS)
    assert "Traceback" not in log
    assert "Error" not in log


def test_a_reply_of_another_server_ends_too(
    exported: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SHUTDOWN_SECONDS", 0.2)
    with live(chat_app(talkative(exported()), Database(tmp_path / "behind.sqlite"))) as behind:
        said: list[str] = []
        begun = threading.Event()

        def read(url: str) -> None:
            with httpx.stream("POST", f"{url}/v1/completions", json=asked(True), timeout=60) as response:
                for line in response.iter_lines():
                    said.append(line)
                    begun.set()

        with live(chat_app(RemoteEngine(behind), Database(tmp_path / "front.sqlite")), graceful=5) as url:
            reader = threading.Thread(target=read, args=(url,))
            reader.start()
            begun.wait(30)
        reader.join(30)
    assert json.loads([line for line in said if line][-1].removeprefix("data: "))["error"]["message"] == STOPS


def test_replies_that_end_in_time_are_not_cut(tmp_path: Path) -> None:
    parrot = Parrot("m", "", "one two three", pause=0.2)
    with live(chat_app(parrot, Database(tmp_path / "p.sqlite")), graceful=5) as url:
        body = {"model": "m", "prompt": "x", "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body) as response:
            said = list(response.iter_lines())
    assert "data: [DONE]" in said
    assert not parrot.ended
