"""The web application and its server, which listens on this machine only, unless there are tokens.

It assembles what other modules define (`openai_api`, `embeddings_api`, `server_api`, `chat_api`, `arena_api`,
`openapi`, `middleware`). There are no documentation pages (they would load scripts from elsewhere), no
telemetry, and no log of requests.
"""

import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from secrets import token_hex

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from privllm.core.errors import UserError
from privllm.core.work_paths import SIGNING_KEY_FILE
from privllm.serve import auth
from privllm.serve.arena_api import arena_router
from privllm.serve.callers import LOCAL_HOSTS, Callers
from privllm.serve.chat_api import chat_router
from privllm.serve.connections import BACKLOG, KEEP_ALIVE_SECONDS, connection_limit, guarded
from privllm.serve.database import Database, DatabaseBusy, DatabaseUnwritable
from privllm.serve.embeddings_api import embeddings_router
from privllm.serve.engine.base import Engine, RequestRefused
from privllm.serve.metrics import Metrics
from privllm.serve.middleware import Authenticator, SecurityMiddleware, error_response
from privllm.serve.openai_api import openai_router
from privllm.serve.openapi import openapi_router
from privllm.serve.reply_streams import ClientDisconnected
from privllm.serve.server_api import server_router
from privllm.serve.signatures import Signer
from privllm.serve.stopping import CLOSING_SECONDS, SHUTDOWN_SECONDS, GentleServer

log = logging.getLogger(__name__)
LOCAL = Callers()
BUSY_RETRY_AFTER = 5.0  # seconds
CLIENT_CLOSED_REQUEST = 499  # nginx's status; no client reads it
NO_TELEMETRY = {"auto_configure": False, "tracing": False, "metrics": False, "logs": False}


def chat_app(engine: Engine, database: Database, callers: Callers = LOCAL) -> FastAPI:
    """Return the application of `privllm serve`: the API of one engine, and the chat page where its model writes."""
    authenticator, metrics = Authenticator(database), Metrics()
    signer = Signer(database.file.with_name(SIGNING_KEY_FILE.name), engine.served.model)
    routers = [
        openai_router(engine, authenticator, metrics, signer),
        embeddings_router(engine, authenticator, metrics),
        server_router(engine, authenticator, metrics),
        openapi_router(engine.served, authenticator, callers.prefix),
    ]
    if engine.served.dimensions is None:
        signer.open()  # a key that is none is told now, and not to the first person who rates
        routers.append(chat_router(engine.served, authenticator, signer))
    return create_app([engine], routers, callers, metrics)


def arena_app(engines: Sequence[Engine], database: Database, callers: Callers = LOCAL) -> FastAPI:
    """Return the application of `privllm arena`: the blind page, and no API that names models."""
    metrics = Metrics()
    router = arena_router(engines, Authenticator(database), metrics, secret=token_hex(32))
    return create_app(engines, [router], callers, metrics)


def create_app(engines: Sequence[Engine], routers: Sequence[APIRouter], callers: Callers, metrics: Metrics) -> FastAPI:
    """Return an application that starts and closes `engines`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for engine in engines:
                await engine.start()
                stack.push_async_callback(engine.close)
            yield

    def end_replies() -> None:
        for engine in engines:
            engine.end_replies()

    app = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,  # type: ignore[arg-type]
    )
    for router in routers:
        app.include_router(router)

    @app.exception_handler(RequestRefused)
    async def on_refused(request: Request, error: RequestRefused) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(DatabaseBusy)
    async def on_busy(request: Request, error: DatabaseBusy) -> JSONResponse:
        return error_response(RequestRefused(503, str(error), retry_after=BUSY_RETRY_AFTER))

    @app.exception_handler(DatabaseUnwritable)
    async def on_unwritable(request: Request, error: DatabaseUnwritable) -> JSONResponse:
        log.error("%s", error)
        return error_response(RequestRefused(507, str(error)))

    @app.exception_handler(ClientDisconnected)
    @app.exception_handler(ClientDisconnect)  # starlette's, while the client sends the body
    async def on_disconnect(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        refused = RequestRefused(error.status_code, f"{error.detail}.")
        response = error_response(refused)
        response.headers.update(error.headers or {})  # which methods there are
        return response

    app.add_middleware(SecurityMiddleware, callers=callers, metrics=metrics)
    app.state.end_replies = end_replies
    return app


def allowed_hosts(host: str, database: Database) -> frozenset[str] | None:
    """Return the names by which a server bound to `host` may be called; None: any.

    Raises UserError where other machines could reach it without a token.
    """
    if _is_loopback(host):
        return LOCAL_HOSTS | {host}
    if not auth.tokens_required(database):
        raise UserError(
            f"{host} can be reached from other machines, and no access token exists, so anybody could read and rate: "
            "make one with `privllm token new NAME`, or leave --host out."
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(app: FastAPI, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted, which is how a server ends; `on_ready` receives the URL once it can be opened.

    Raises UserError where the port is in use.
    """
    ipv6 = ":" in host
    server_socket = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server_socket.bind((host, port))
        server_socket.listen()  # a client that connects at once waits for uvicorn, and is not refused
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot listen on {host}, port {port} ({reason}): choose another with --port.") from error
    bound_port = server_socket.getsockname()[1]
    url_host = f"[{host}]" if ipv6 else host
    on_ready(f"http://{url_host}:{bound_port}/")
    config = uvicorn.Config(
        app,
        http=guarded(connection_limit()),  # type: ignore[arg-type]
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS + CLOSING_SECONDS,
        lifespan="on",
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal once more after it has shut down
        GentleServer(config, app.state.end_replies).run(sockets=[server_socket])
