"""Half a request, and thousands of them: they end, and keep nobody out."""

import logging
import resource
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from privllm.serve import connections
from privllm.serve.app import chat_app
from privllm.serve.connections import connection_limit
from privllm.serve.database import Database
from tests.serve.fakes import Parrot
from tests.serve.live import live

HALF = b"POST /v1/completions HTTP/1.1\r\nHost: 127"


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)


def answer(sock: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    found = b""
    try:
        while part := sock.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def parrot(tmp_path: Path):
    return chat_app(Parrot("m", "", "one two", 0.4), Database(tmp_path / "p.sqlite"))


@pytest.mark.parametrize("sent", [b"", b"G", HALF])
def test_a_head_that_does_not_come_ends_its_connection(sent: bytes, parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with live(parrot) as url, connected(url) as sock:
        sock.sendall(sent)
        began = time.monotonic()
        assert answer(sock).startswith(b"HTTP/1.1 408 ")
        assert 0.1 < time.monotonic() - began < 5


def test_bytes_that_trickle_in_do_not_make_it_last(parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    with live(parrot) as url, connected(url) as sock:
        sent = 0
        with suppress(ConnectionError):
            for byte in HALF * 3:
                sock.sendall(bytes([byte]))
                time.sleep(0.05)
                sent += 1
        assert 5 < sent < 40


def test_a_reply_and_the_next_request_may_take_longer(parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only heads are awaited: a reply takes 0.8 s here."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    asked = {"model": "m", "prompt": "x"}
    with live(parrot) as url, httpx.Client(base_url=url) as client:
        for _ in range(2):
            assert client.post("/v1/completions", json=asked).json()["choices"][0]["text"] == "one two "


def test_who_asks_for_nothing_makes_room_for_who_asks(parrot, caplog: pytest.LogCaptureFixture) -> None:
    with live(parrot, connections=20) as url, ExitStack() as stack:
        half_sent = []
        for _ in range(200):
            half_sent.append(stack.enter_context(connected(url)))
            half_sent[-1].sendall(HALF)
        began = time.monotonic()
        assert httpx.get(f"{url}/v1/models").status_code == 200
        assert time.monotonic() - began < 3
        assert answer(half_sent[0]) == b""  # the oldest went first
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_who_is_answered_keeps_the_place_and_who_comes_too_many_is_told(tmp_path: Path) -> None:
    slow = chat_app(Parrot("m", "", "word " * 30, 0.05), Database(tmp_path / "p.sqlite"))
    with live(slow, connections=2) as url, httpx.Client(base_url=url) as one, httpx.Client(base_url=url) as other:
        stack = ExitStack()
        asked = {"model": "m", "prompt": "x", "stream": True}
        with stack, one.stream("POST", "/v1/completions", json=asked) as first:
            with other.stream("POST", "/v1/completions", json=asked) as second:
                assert first.status_code == second.status_code == 200
                refused = answer(stack.enter_context(connected(url)))
                assert refused.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 2" in refused
                assert b"[DONE]" in second.read()
            assert b"[DONE]" in first.read()
        assert httpx.get(f"{url}/v1/models").status_code == 200


def test_the_limit_leaves_files_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append(limits))
    for soft, hard, wanted, raised in (
        (1024, 1_048_576, 3712, [(4096, 1_048_576)]),
        (1024, 2048, 1664, [(2048, 2048)]),
        (256, 256, 16, []),
        (100_000, 100_000, 3712, []),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 3712, []),
    ):
        asked.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda kind, found=(soft, hard): found)
        assert (connection_limit(), asked) == (wanted, raised)


@pytest.mark.slow
def test_a_connection_outlives_what_a_client_keeps(parrot) -> None:
    """httpx keeps one for 5 s: a server that closes then would now and then do it while a request is on its way."""
    asked = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with live(parrot) as url, connected(url) as sock:
        for pause in (6.0, 0.0):
            sock.sendall(asked)
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come apart
                answer += sock.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(pause)
