"""Before any page or reply: who may call from where, how much they may send, and the headers that every answer carries.

On a loopback address the Host header must name this machine, so that a web site cannot reach the server through a name of its own
(DNS rebinding); a request that a browser sends from another site is refused; bodies are JSON and are counted as they come. Where
tokens exist, every call needs one. It knows no models.
"""

import asyncio
import logging
from urllib.parse import urlsplit

from fastapi import Request as Call
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privllm.serve import auth
from privllm.serve.database import People
from privllm.serve.engine.base import Refused
from privllm.serve.limits import Meter
from privllm.serve.openai_format import error_body

BODY_LIMIT = 1_000_000  # bytes
DRAINED = 32_000_000  # bytes of a refused body that are read and thrown away, so that its sender gets to read the answer
BODY_SECONDS = 20.0  # within which a body must have come
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware. `hosts`: the names by which the server may be called; None: by any (then tokens are required)."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(raw=message["headers"]).update(HEADERS)
            await send(message)

        if refused := self._refusal(Headers(scope=scope), scope["method"]):
            await refusal(refused)(scope, receive, send_guarded)
            return
        try:
            await self.app(scope, receive, send_guarded)
        except Exception:  # our own mistake, or a full disk: what it says may name files, so only the log has it
            if begun:
                raise
            log.exception("a request failed")
            await refusal(Refused(500, "the server failed; its log says why."))(scope, receive, send_guarded)

    def _refusal(self, headers: Headers, method: str) -> Refused | None:
        host = headers.get("host", "")
        if self.hosts is not None and _name(f"//{host}") not in self.hosts:
            return Refused(421, f"this server is not `{host}`: open it by the address it printed.")
        if method in ("GET", "HEAD"):
            return None
        elsewhere = [origin for origin in headers.getlist("origin") if origin and _place(origin) != host]
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") or elsewhere:
            return Refused(403, "another web site may not call this server.")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return Refused(415, "send JSON, with the header Content-Type: application/json.")
        return None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _place(url: str) -> str | None:
    """Name and port."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def refusal(refused: Refused) -> JSONResponse:
    """OpenAI's form of an error."""
    headers = {}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refused.status in (408, 413):
        headers["connection"] = "close"  # or the rest of the body would be read to its end, which may never come
    if refused.retry_after is not None:
        headers["retry-after"] = str(max(1, round(refused.retry_after + 0.5)))
    return JSONResponse(error_body(refused.status, refused.message, refused.param), refused.status, headers)


async def body_of(call: Call) -> bytes:
    """The body, counted as it comes. Raises Refused: 413 beyond the limit, 408 where it does not come."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in call.stream():
                size += len(part)
                if size <= BODY_LIMIT:
                    parts.append(part)
                elif size > DRAINED:
                    break
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_SECONDS:.0f} s.") from None
    if size > BODY_LIMIT:
        raise Refused(413, f"a body may have {BODY_LIMIT:,} bytes.")
    return b"".join(parts)


class Door:
    """Who calls: the token's name, and a meter for each."""

    def __init__(self, people: People) -> None:
        self.people = people
        self._meters: dict[bytes, Meter] = {}

    def caller(self, call: Call) -> tuple[str, Meter | None]:
        """(token's name, its meter), or ("", None) where no token was ever made. Raises Refused with status 401."""
        if not auth.required(self.people):
            return "", None
        token = auth.owner(self.people, call.headers.get("authorization", ""))
        if token is None:
            raise Refused(401, "this server wants an access token: Authorization: Bearer privllm-...")
        if token.digest not in self._meters:
            self._meters[token.digest] = Meter(token.requests_per_minute, token.tokens_per_minute)
        return token.name, self._meters[token.digest]


def admit(meter: Meter | None, tokens: int) -> None:
    """Raises Refused with status 429 where the caller asks for more than the token allows."""
    wait = meter.admit(tokens) if meter else 0
    if wait == float("inf"):
        raise Refused(429, f"this request may take {tokens} tokens, more than this access token may use in a minute.", "max_tokens")
    if wait:
        raise Refused(429, "this access token's limit for a minute is reached.", retry_after=wait)
