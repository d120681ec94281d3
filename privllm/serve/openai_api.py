"""/v1: the OpenAI-compatible API of one engine. Nothing that is said here is stored.

An error is an HTTP status as long as no text was sent; after that it is an event of the stream. Whoever disconnects stops the
generation, streaming or not. Limits per token are taken before a reply and settled after it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi import Request as Call
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from privllm.serve.engine.base import Ask, Done, Engine, Refused, Text
from privllm.serve.limits import Meter
from privllm.serve.middleware import Door, admit, body_of
from privllm.serve.openai_format import ChatRequest, Request, TextRequest, Writer, error_body, model_card, parse

Result = TypeVar("Result")


class Gone(Exception):
    """The client went away before anything was sent."""


class Stream(StreamingResponse):
    """Its source is closed when the client is gone, at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


def api(engine: Engine, door: Door) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/models")
    def models(call: Call) -> dict[str, Any]:
        door.caller(call)
        return {"object": "list", "data": [model_card(engine.served)]}

    @router.get("/models/{name:path}")
    def model(call: Call, name: str) -> dict[str, Any]:
        door.caller(call)
        return model_card(_known(engine, name).served)

    @router.post("/chat/completions")
    async def chat(call: Call) -> Response:
        return await _reply(engine, door, call, ChatRequest)

    @router.post("/completions")
    async def completions(call: Call) -> Response:
        return await _reply(engine, door, call, TextRequest)

    return router


def _known(engine: Engine, name: str) -> Engine:
    if name != engine.served.model.name:
        raise Refused(404, f"the model `{name}` is not served here; `{engine.served.model.name}` is.", "model")
    return engine


async def _reply(engine: Engine, door: Door, call: Call, schema: type[Request]) -> Response:
    _, meter = door.caller(call)
    asked = parse(schema, await body_of(call))
    _known(engine, asked.model)
    ask = asked.ask()
    events = metered(engine, ask, meter)
    writer = Writer(engine.served, ask.messages is not None)
    if asked.stream:
        first = await unless_gone(call, anext(events))
        return Stream(_chunks(writer, first, events, asked.wants_usage), media_type="text/event-stream")
    return JSONResponse(await unless_gone(call, _whole(writer, events)))


async def metered(engine: Engine, ask: Ask, meter: Meter | None) -> AsyncIterator[Text | Done]:
    """The engine's events; what was used is settled with the caller's meter, however it ends."""
    size = await engine.size(ask)
    most = size + ask.settings.max_tokens
    admit(meter, most)
    used = 0
    try:
        async with aclosing(engine.stream(ask)) as events:  # type: ignore[type-var]
            async for event in events:
                used = max(used, size) + 1 if isinstance(event, Text) else size + (event.completion_tokens or 0)
                yield event
    finally:
        if meter:
            meter.settle(most, min(used, most))


async def _whole(writer: Writer, events: AsyncIterator[Text | Done]) -> dict[str, Any]:
    text = ""
    async with aclosing(events):  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Done):
                return writer.whole(text, event)
            text += event.text
    raise Refused(502, "the reply broke off.")


async def _chunks(writer: Writer, first: Text | Done, events: AsyncIterator[Text | Done], usage: bool) -> AsyncIterator[bytes]:
    async with aclosing(events):  # type: ignore[type-var]
        if opening := writer.first():
            yield _event(opening)
        try:
            event = first
            while isinstance(event, Text):
                yield _event(writer.piece(event.text))
                event = await anext(events)
            yield _event(writer.last(event))
            if usage:
                yield _event(writer.usage(event))
            yield b"data: [DONE]\n\n"
        except (Refused, StopAsyncIteration) as error:
            status, message = (error.status, error.message) if isinstance(error, Refused) else (502, "the reply broke off.")
            yield _event(error_body(status, message))


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def unless_gone(call: Call, work: Awaitable[Result]) -> Result:
    """What `work` comes to; it is cancelled, and Gone raised, when the client disconnects before."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(call))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Gone
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
