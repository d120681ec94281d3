"""The web application, and the process that listens: on this machine only, unless there are tokens.

It puts the parts together; each is described where it is made (`calls`, `pages`, `matches`, `gate`). No documentation pages (they
would load scripts from elsewhere), no telemetry, no log of who asked what.
"""

import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from secrets import token_hex

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi import Request as Call
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from privllm.core.errors import UserError
from privllm.serve import auth
from privllm.serve.arena_api import arena_pages
from privllm.serve.chat_api import chat_pages
from privllm.serve.database import People
from privllm.serve.engine.base import Engine, Refused
from privllm.serve.middleware import LOCAL, Door, Gate, refusal
from privllm.serve.openai_api import Gone, api

GRACE = 3  # seconds that replies get to end when the server stops
CLIENT_CLOSED = 499  # nobody reads it


def chat_app(engine: Engine, people: People, hosts: frozenset[str] | None = LOCAL) -> FastAPI:
    """`privllm serve`: the API and the chat page of one engine."""
    door = Door(people)
    return application([engine], [api(engine, door), chat_pages(engine.served, door)], hosts)


def arena_app(engines: Sequence[Engine], people: People, hosts: frozenset[str] | None = LOCAL) -> FastAPI:
    """`privllm arena`: the blind page of two engines or more, and no API that would name them."""
    return application(engines, [arena_pages(engines, Door(people), token_hex(32))], hosts)


def application(engines: Sequence[Engine], routers: Sequence[APIRouter], hosts: frozenset[str] | None) -> FastAPI:
    """Engines are started and closed with it. `hosts` as in `Gate`."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for engine in engines:
                await engine.start()
                stack.push_async_callback(engine.close)
            yield

    quiet = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}
    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, telemetry=quiet)  # type: ignore[arg-type]
    for router in routers:
        app.include_router(router)

    @app.exception_handler(Refused)
    async def refused(call: Call, error: Refused) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(Gone)
    @app.exception_handler(ClientDisconnect)  # while it sent the body
    async def gone(call: Call, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED)

    @app.exception_handler(HTTPException)
    async def http(call: Call, error: HTTPException) -> JSONResponse:
        return refusal(Refused(error.status_code, f"{error.detail}."))

    app.add_middleware(Gate, hosts=hosts)
    return app


def hosts_for(host: str, people: People) -> frozenset[str] | None:
    """The names by which a server bound to `host` may be called. Raises UserError where others could reach it without a token."""
    if _loopback(host):
        return LOCAL | {host}
    if not auth.required(people):
        raise UserError(
            f"{host} can be reached from other machines, and no access token exists, so anybody could read and rate: "
            "make one with `privllm token new NAME`, or leave --host out."
        )
    return None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(app: FastAPI, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until interrupted. `say` gets the address once it can be opened. Raises UserError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen()  # who opens the address at once waits for uvicorn, and is not refused
    except OSError as error:
        raise UserError(f"cannot listen on {host}, port {port} ({error.strerror or error}): choose another with --port.") from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    say(f"http://{shown}:{sock.getsockname()[1]}/")
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=GRACE, lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[sock])
