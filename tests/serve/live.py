"""A real server for tests: uvicorn in a thread, on a port of its own."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from privllm.serve.connections import KEEP_ALIVE_SECONDS, guarded
from privllm.serve.stopping import GentleServer


@contextmanager
def live(app: FastAPI, connections: int = 500, graceful: int = 1) -> Iterator[str]:
    """Its address, "http://127.0.0.1:PORT"; stopped at the end."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=guarded(connections),  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=graceful,
    )
    server = GentleServer(config, getattr(app.state, "end_replies", lambda: None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sock.close()


def answered(url: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Ask for a signed reply; return the fields of a rating that name it."""
    signed = body | {"privllm": {"sign": True}}
    made = httpx.post(f"{url}/v1/chat/completions", json=signed, headers=headers).raise_for_status().json()
    choice = made["choices"][0]
    return {"id": made["id"], "reply": choice["message"]["content"], "signature": choice["privllm"]["signature"]}
