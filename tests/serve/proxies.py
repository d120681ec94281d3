"""What people do through a proxy, below a path and by another name: the page, the API and streams."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from privllm.serve.app import chat_app
from privllm.serve.callers import LOCAL_HOSTS, Callers, callers_of
from privllm.serve.database import Database
from tests.serve.fakes import Parrot
from tests.serve.live import live
from tests.workshop import ROOT


def documented(language: str) -> str:
    """Return the block of docs/guides/serve.md that is written in `language`."""
    (block,) = re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / "docs/guides/serve.md").read_text("utf-8"), re.M | re.S
    )
    return block


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextmanager
def running(command: list[str | Path], port: int, log: Path, **variables: str) -> Iterator[None]:
    """Run a proxy until the block ends."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=variables or None)
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{command[0]} does not listen: {log.read_text()}"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


class Public:
    """A server of ours that is known as http://ai.example:PORT/llm/, and the port at which a proxy is to stand."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.host = f"ai.example:{self.port}"
        self.folder = folder

    @contextmanager
    def served(self) -> Iterator[str]:
        callers = callers_of(LOCAL_HOSTS, [], f"http://{self.host}/llm/", [])
        app = chat_app(Parrot("m", "", "one two three four", 0.15), Database(self.folder / "p.sqlite"), callers)
        with live(app) as url:
            yield url

    def visit(self) -> list[str]:
        """Do what people do; return what was asked and answered."""
        transcript = []
        base = f"http://127.0.0.1:{self.port}/llm/"
        asked = {"model": "m", "prompt": "x"}
        own = {"origin": f"http://{self.host}", "sec-fetch-site": "same-origin"}
        foreign = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        with httpx.Client(base_url=base, headers={"host": self.host}) as client:

            def ask(method: str, path: str, status: int, **sent: object) -> httpx.Response:
                answer = client.request(method, path, **sent)  # type: ignore[arg-type]
                transcript.append(f"{method} {urlsplit(str(answer.url)).path} {answer.status_code}")
                assert answer.status_code == status, (transcript[-1], answer.text[:300])
                return answer

            assert 'src="static/chat.js"' in ask("GET", "", 200).text
            for path in ("static/chat.js", "static/style.css", "api/page", "v1/models", "health"):
                ask("GET", path, 200)
            assert ask("GET", "openapi.json", 200).json()["servers"] == [{"url": "/llm"}]
            ask("POST", "v1/completions", 200, json=asked, headers=own)
            ask("POST", "v1/completions", 403, json=asked, headers=foreign)
            ask("DELETE", "api/rating/chatcmpl-1", 404, headers=own)
            ask("PUT", "v1/completions", 405, json=asked, headers=own)
            times = []
            with client.stream("POST", "v1/completions", json=asked | {"stream": True}, headers=own) as answer:
                assert answer.status_code == 200
                for _ in answer.iter_lines():
                    times.append(time.monotonic())
            assert times[-1] - times[0] > 0.3  # piece by piece: a proxy that buffers would keep a reply until its end
            transcript.append("POST /llm/v1/completions 200, a stream piece by piece")
            away = client.get(f"http://127.0.0.1:{self.port}/llm")
            assert (away.is_redirect, urlsplit(away.headers["location"]).path) == (True, "/llm/")
            transcript.append(f"GET /llm {away.status_code}, to /llm/")
        return transcript


@contextmanager
def unprepared(folder: Path) -> Iterator[str]:
    """The address of a server that was not told its public address."""
    with live(chat_app(Parrot("m", "", "x"), Database(folder / "p.sqlite"), Callers())) as url:
        yield url
