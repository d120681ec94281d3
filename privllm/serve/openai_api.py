"""/v1: the OpenAI-compatible API of one engine. Nothing said here is stored.

Until the first text is sent an error is an HTTP status; after that it is an event of the stream. A
client that disconnects cancels its generation, streaming or not. A token's limits are charged
before a reply and settled after it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from privllm.serve.engine.base import Done, Engine, GenerationRequest, RequestRefused, Text
from privllm.serve.limits import RateLimiter
from privllm.serve.middleware import Authenticator, admit, read_body
from privllm.serve.openai_requests import BaseRequest, ChatCompletionRequest, CompletionRequest, parse
from privllm.serve.openai_responses import ResponseWriter, error_body, model_card

Result = TypeVar("Result")
BROKE_OFF = "the reply broke off."


class ClientDisconnected(Exception):
    """The client disconnected before anything was sent."""


class ClosingStreamingResponse(StreamingResponse):
    """A streaming response that closes its iterator as soon as the client disconnects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


def openai_router(engine: Engine, authenticator: Authenticator) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/models")
    def models(request: Request) -> dict[str, Any]:
        authenticator.authenticate(request)
        return {"object": "list", "data": [model_card(engine.served)]}

    @router.get("/models/{name:path}")
    def model(request: Request, name: str) -> dict[str, Any]:
        authenticator.authenticate(request)
        _require_served(engine, name)
        return model_card(engine.served)

    @router.post("/chat/completions")
    async def chat(request: Request) -> Response:
        return await _respond(engine, authenticator, request, ChatCompletionRequest)

    @router.post("/completions")
    async def completions(request: Request) -> Response:
        return await _respond(engine, authenticator, request, CompletionRequest)

    return router


def _require_served(engine: Engine, name: str) -> None:
    served_name = engine.served.model.name
    if name != served_name:
        raise RequestRefused(
            404, f"the model `{name}` is not served here; `{served_name}` is.", "model", code="model_not_found"
        )


async def _respond(
    engine: Engine,
    authenticator: Authenticator,
    request: Request,
    schema: type[BaseRequest],
) -> Response:
    _, limiter = authenticator.authenticate(request)
    payload = parse(schema, await read_body(request))
    _require_served(engine, payload.model)
    generation = payload.to_generation_request()
    events = stream_limited(engine, generation, limiter)
    writer = ResponseWriter(engine.served, chat=generation.messages is not None)
    if not payload.stream:
        return JSONResponse(await run_until_disconnect(request, _whole_response(writer, events)))
    first = await run_until_disconnect(request, anext(events))
    chunks = _chunks(writer, first, events, payload.wants_usage)
    return ClosingStreamingResponse(chunks, media_type="text/event-stream")


async def stream_limited(
    engine: Engine,
    request: GenerationRequest,
    limiter: RateLimiter | None,
) -> AsyncIterator[Text | Done]:
    """Yield the engine's events; settle what was used with `limiter`, however the stream ends."""
    prompt_tokens = await engine.count_tokens(request)
    max_used = prompt_tokens + request.settings.max_tokens
    admit(limiter, max_used)
    used = 0
    try:
        async with aclosing(engine.stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                used = max(used, prompt_tokens) + 1  # a piece is one token at least
                if isinstance(event, Done):
                    used = prompt_tokens + (event.completion_tokens or 0)
                yield event
    finally:
        if limiter:
            limiter.settle(max_used, min(used, max_used))


async def _whole_response(writer: ResponseWriter, events: AsyncIterator[Text | Done]) -> dict[str, Any]:
    text = ""
    async with aclosing(events):  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Done):
                return writer.response(text, event)
            text += event.text
    raise RequestRefused(502, BROKE_OFF)


async def _chunks(
    writer: ResponseWriter,
    first: Text | Done,
    events: AsyncIterator[Text | Done],
    with_usage: bool,
) -> AsyncIterator[bytes]:
    """Yield server-sent events of a reply that begins with the event `first`."""
    async with aclosing(events):  # type: ignore[type-var]
        first_chunk = writer.first_chunk()
        if first_chunk:
            yield _server_sent(first_chunk)
        try:
            event = first
            while isinstance(event, Text):
                yield _server_sent(writer.text_chunk(event.text))
                event = await anext(events)
            yield _server_sent(writer.last_chunk(event))
            if with_usage:
                yield _server_sent(writer.usage_chunk(event))
            yield b"data: [DONE]\n\n"
        except RequestRefused as error:
            yield _server_sent(error_body(error))
        except StopAsyncIteration:
            yield _server_sent(error_body(RequestRefused(502, BROKE_OFF)))


def _server_sent(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


async def run_until_disconnect(request: Request, work: Awaitable[Result]) -> Result:
    """Return the result of `work`. Raises ClientDisconnected if the client disconnects first."""
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnected
    finally:
        task.cancel()
        disconnect.cancel()
        await asyncio.gather(task, disconnect, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
