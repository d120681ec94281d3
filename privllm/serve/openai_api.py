"""/v1: the OpenAI-compatible API of one engine. Nothing said here is stored.

Until the first text is sent an error is an HTTP status; after that it is an event of the stream. A
client that disconnects cancels its generation, streaming or not.
"""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from privllm.serve.engine.base import Done, Engine, GenerationRequest, RequestRefused
from privllm.serve.metrics import Metrics
from privllm.serve.middleware import Authenticator, read_body
from privllm.serve.openai_fields import parse
from privllm.serve.openai_requests import BaseRequest, ChatCompletionRequest, CompletionRequest
from privllm.serve.openai_responses import Reply, ReplySigner, ResponseWriter, error_body, model_card
from privllm.serve.reply_streams import ClosingStreamingResponse, IndexedEvent, run_until_disconnect, stream_limited
from privllm.serve.signatures import Signer

BROKE_OFF = "the reply broke off."


def openai_router(engine: Engine, authenticator: Authenticator, metrics: Metrics, signer: Signer) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/models")
    async def models(request: Request) -> dict[str, Any]:
        await authenticator.authenticate(request)
        return {"object": "list", "data": [model_card(engine.served)]}

    @router.get("/models/{name:path}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        await authenticator.authenticate(request)
        require_served(engine, name)
        return model_card(engine.served)

    @router.post("/chat/completions")
    async def chat(request: Request) -> Response:
        return await _respond(engine, authenticator, metrics, signer, request, ChatCompletionRequest)

    @router.post("/completions")
    async def completions(request: Request) -> Response:
        return await _respond(engine, authenticator, metrics, signer, request, CompletionRequest)

    return router


def require_served(engine: Engine, name: str) -> None:
    """Raise RequestRefused (404) unless the engine's model has this name."""
    served_name = engine.served.model.name
    if name != served_name:
        raise RequestRefused(
            404, f"the model `{name}` is not served here; `{served_name}` is.", "model", code="model_not_found"
        )


async def _respond(
    engine: Engine,
    authenticator: Authenticator,
    metrics: Metrics,
    signer: Signer,
    request: Request,
    schema: type[BaseRequest],
) -> Response:
    _, limiter = await authenticator.authenticate(request)
    payload = parse(schema, await read_body(request))
    require_served(engine, payload.model)
    requests = payload.to_generation_requests()
    events = stream_limited(engine, requests, limiter, metrics)
    replies = [Reply() for _ in requests]
    writer = _writer(engine, signer, payload, requests[0])
    if not payload.stream:
        return JSONResponse(await run_until_disconnect(request, _whole_response(writer, replies, events)))
    first = await run_until_disconnect(request, anext(events))
    chunks = _chunks(writer, replies, first, events, payload.wants_usage)
    return ClosingStreamingResponse(chunks, media_type="text/event-stream")


def _writer(engine: Engine, signer: Signer, payload: BaseRequest, asked: GenerationRequest) -> ResponseWriter:
    """Return the writer of the response. Raises RequestRefused (403) for a begun reply that is not this server's.

    Otherwise anybody could have words of their own signed, and rate them.
    """
    messages, begun = asked.messages, payload.begun_reply
    if messages is None or not payload.wants_signatures:
        return ResponseWriter(engine.served, messages is not None, payload.n)
    if asked.begun and not (begun and signer.verifies(begun.signature, begun.id, messages, asked.begun)):
        message = "this server did not begin that reply, so it signs nothing that is added to it."
        raise RequestRefused(403, message, "privllm.continues")
    identifier = begun.id if asked.begun and begun else ""
    return ResponseWriter(engine.served, True, payload.n, ReplySigner(signer, messages, asked.begun), identifier)


async def _whole_response(
    writer: ResponseWriter,
    replies: list[Reply],
    events: AsyncIterator[IndexedEvent],
) -> dict[str, Any]:
    async with aclosing(events):  # type: ignore[type-var]
        async for index, event in events:
            replies[index].add(event)
    if not all(reply.done for reply in replies):
        raise RequestRefused(502, BROKE_OFF)
    return writer.response(replies)


async def _chunks(
    writer: ResponseWriter,
    replies: list[Reply],
    first: IndexedEvent,
    events: AsyncIterator[IndexedEvent],
    with_usage: bool,
) -> AsyncIterator[bytes]:
    """Yield server-sent events of replies that begin with the event `first`."""
    async with aclosing(events):  # type: ignore[type-var]
        for chunk in writer.first_chunks(len(replies)):
            yield _server_sent(chunk)
        try:
            index, event = first
            while True:
                yield _server_sent(writer.chunk(index, event))
                if isinstance(event, Done):
                    replies[index].done = event
                if all(reply.done for reply in replies):
                    break
                index, event = await anext(events)
            if with_usage:
                yield _server_sent(writer.usage_chunk(replies))
            yield b"data: [DONE]\n\n"
        except RequestRefused as error:
            yield _server_sent(error_body(error))
        except StopAsyncIteration:
            yield _server_sent(error_body(RequestRefused(502, BROKE_OFF)))


def _server_sent(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"
