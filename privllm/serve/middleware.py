"""Middleware: where requests may come from, how large they may be, and headers of responses.

Hosts and origins are judged by `callers`. Bodies must be JSON and are counted as they arrive. Where access tokens exist, every
request needs one. No models here.
"""

import asyncio
import logging
import re
from secrets import token_hex

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privllm.serve import auth
from privllm.serve.callers import Callers
from privllm.serve.database import AccessToken, Database
from privllm.serve.engine.base import RequestRefused
from privllm.serve.limits import RateLimiter
from privllm.serve.metrics import Metrics
from privllm.serve.openai_responses import error_body

BODY_LIMIT = 1_000_000  # bytes
DRAIN_LIMIT = 32_000_000  # bytes of a refused body that are discarded, so that its sender reads the response
BODY_SECONDS = 20.0  # within which a body must arrive
REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
log = logging.getLogger(__name__)


class SecurityMiddleware:
    """ASGI middleware that checks hosts and origins, names and counts requests, and adds headers."""

    def __init__(self, app: ASGIApp, callers: Callers, metrics: Metrics) -> None:
        self.app = app
        self.callers = callers
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = self._below_prefix(scope)
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        request_id = _request_id(headers)
        added = HEADERS | {"x-request-id": request_id} | self.callers.cors_headers(origin)
        response_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal response_started
            if message["type"] == "http.response.start":
                response_started = True
                MutableHeaders(raw=message["headers"]).update(added)
                self.metrics.requests[_route(scope), message["status"]] += 1
            await send(message)

        refusal = self._check(headers, scope["method"])
        if refusal:
            await error_response(refusal)(scope, receive, send_with_headers)
            return
        preflight = self.callers.preflight_headers(origin, headers) if scope["method"] == "OPTIONS" else {}
        if preflight:
            await Response(status_code=204, headers=preflight)(scope, receive, send_with_headers)
            return
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:  # a bug, or a full disk: its message may name files, so only the log has it
            if response_started:
                raise
            log.exception("the request %s failed", request_id)
            failure = RequestRefused(500, "the server failed; its log says why.")
            await error_response(failure)(scope, receive, send_with_headers)

    def _below_prefix(self, scope: Scope) -> Scope:
        """Return the scope without the public address's path, which not every proxy takes off."""
        prefix, path = self.callers.prefix, scope["path"]
        if not prefix or not path.startswith(f"{prefix}/"):
            return scope
        return {**scope, "path": path.removeprefix(prefix)}

    def _check(self, headers: Headers, method: str) -> RequestRefused | None:
        """Return why a request with these headers is refused, or None."""
        host = headers.get("host", "")
        if not self.callers.knows_host(host):
            message = f"this server is not `{host}`: open it by the address it printed, or start it with --allow-host."
            return RequestRefused(421, message)
        if method in ("GET", "HEAD"):
            return None
        site = headers.get("sec-fetch-site", "none")
        if not self.callers.takes_origins(headers.getlist("origin"), host, site):
            return RequestRefused(403, "another web site may not call this server.")
        return None


def _request_id(headers: Headers) -> str:
    """Return the id that the client gave its request, or a new one."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else f"req_{token_hex(16)}"


def _route(scope: Scope) -> str:
    """Return the route that answers: one of few, whatever paths are asked for."""
    return getattr(scope.get("route"), "path", "none")


def error_response(refused: RequestRefused) -> JSONResponse:
    """Return `refused` as an error of OpenAI's format."""
    headers = {}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refused.status in (408, 413):
        headers["connection"] = "close"  # otherwise the server would read the body to its end, which may never come
    if refused.retry_after is not None:
        headers["retry-after"] = str(max(1, round(refused.retry_after + 0.5)))
    return JSONResponse(error_body(refused), refused.status, headers)


async def read_body(request: Request) -> bytes:
    """Return the body. Raises RequestRefused: 415 where it is no JSON, 413 beyond the limit, 408 where it is late.

    A page of another web site can send no JSON without asking first.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != "application/json":
        raise RequestRefused(415, "send JSON, with the header Content-Type: application/json.")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= BODY_LIMIT:
                    chunks.append(chunk)
                elif size > DRAIN_LIMIT:
                    break
    except TimeoutError:
        raise RequestRefused(408, f"the body did not arrive within {BODY_SECONDS:.0f} s.") from None
    if size > BODY_LIMIT:
        raise RequestRefused(413, f"a body may have {BODY_LIMIT:,} bytes.")
    return b"".join(chunks)


class Authenticator:
    """Check of access tokens, with one rate limiter for each token."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._limiters: dict[bytes, RateLimiter] = {}  # by the token's digest

    async def authenticate(self, request: Request) -> tuple[str, RateLimiter | None]:
        """Return the token's name and rate limiter; ("", None) where no token was ever created.

        Raises RequestRefused with status 401. The database is read in a thread: whoever locks its file
        must not hold up the replies to others.
        """
        header = request.headers.get("authorization", "")
        required, token = await run_in_threadpool(self._look_up, header)
        if not required:
            return "", None
        if token is None:
            raise RequestRefused(401, "this server needs an access token: Authorization: Bearer privllm-...")
        if token.digest not in self._limiters:
            self._limiters[token.digest] = RateLimiter(token.requests_per_minute, token.tokens_per_minute)
        return token.name, self._limiters[token.digest]

    def _look_up(self, header: str) -> tuple[bool, AccessToken | None]:
        required = auth.tokens_required(self.database)
        return required, auth.find_token(self.database, header) if required else None


def admit(limiter: RateLimiter | None, tokens: int) -> None:
    """Take a request of at most `tokens`. Raises RequestRefused (429) beyond the limits."""
    if limiter is None:
        return
    wait = limiter.admit(tokens)
    if wait == float("inf"):
        message = f"this request may take {tokens} tokens, more than this access token may use in a minute."
        raise RequestRefused(429, message, "max_tokens")
    if wait:
        raise RequestRefused(429, "this access token's limit for a minute is reached.", retry_after=wait)
