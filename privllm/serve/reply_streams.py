"""Streams of replies: several at once, within a token's limits, and ended when their client leaves.

A token's limits are charged before a reply and settled after it. Nothing is known of OpenAI's format.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from privllm.serve.engine.base import Done, Engine, GenerationRequest, Text
from privllm.serve.limits import RateLimiter
from privllm.serve.metrics import Metrics
from privllm.serve.middleware import admit

Result = TypeVar("Result")
Event = Text | Done
IndexedEvent = tuple[int, Event]  # which of several replies, and what comes of it


class ClientDisconnected(Exception):
    """The client disconnected before anything was sent."""


class ClosingStreamingResponse(StreamingResponse):
    """A streaming response that closes its iterator as soon as the client disconnects.

    Proxies are told to pass every piece on at once (nginx's header).
    """

    def __init__(self, content: AsyncIterator[bytes], media_type: str) -> None:
        super().__init__(content, media_type=media_type, headers={"x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


async def stream_limited(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    limiter: RateLimiter | None,
    metrics: Metrics,
) -> AsyncIterator[IndexedEvent]:
    """Yield the engine's events; settle what was used with `limiter`, however the streams end."""
    began = metrics.clock()
    prompt_sizes = await _count_tokens(engine, requests)
    max_used = sum(prompt_sizes) + sum(request.settings.max_tokens for request in requests)
    admit(limiter, max_used)
    used = [0] * len(requests)
    metrics.replies_open += len(requests)
    try:
        merged = _merged([engine.stream(request) for request in requests])
        async with aclosing(merged) as events:  # type: ignore[type-var]
            async for index, event in events:
                if not used[index]:
                    metrics.first_piece.observe(metrics.clock() - began)
                used[index] = max(used[index], prompt_sizes[index]) + 1  # a piece is one token at least
                if isinstance(event, Done):
                    used[index] = prompt_sizes[index] + (event.completion_tokens or 0)
                    metrics.whole_reply.observe(metrics.clock() - began)
                    metrics.prompt_tokens += event.prompt_tokens or 0
                    metrics.completion_tokens += event.completion_tokens or 0
                yield index, event
    finally:
        metrics.replies_open -= len(requests)
        if limiter:
            limiter.settle(max_used, min(sum(used), max_used))


async def _count_tokens(engine: Engine, requests: Sequence[GenerationRequest]) -> list[int]:
    """Return the size of each prompt; the choices of one prompt differ in their seeds alone."""
    sizes: dict[GenerationRequest, int] = {}
    prompts = [replace(request, settings=replace(request.settings, seed=0)) for request in requests]
    for prompt in prompts:
        if prompt not in sizes:
            sizes[prompt] = await engine.count_tokens(prompt)
    return [sizes[prompt] for prompt in prompts]


async def _merged(streams: Sequence[AsyncIterator[Event]]) -> AsyncIterator[IndexedEvent]:
    """Yield the events of all streams as they come. The first error ends all of them."""
    if len(streams) == 1:
        async with aclosing(streams[0]) as events:  # type: ignore[type-var]
            async for event in events:
                yield 0, event
        return
    queue: asyncio.Queue[IndexedEvent | Exception | None] = asyncio.Queue()

    async def read(index: int, stream: AsyncIterator[Event]) -> None:
        try:
            async with aclosing(stream) as events:  # type: ignore[type-var]
                async for event in events:
                    queue.put_nowait((index, event))
            queue.put_nowait(None)
        except Exception as error:  # raised below, where the reader is
            queue.put_nowait(error)

    tasks = [asyncio.create_task(read(index, stream)) for index, stream in enumerate(streams)]
    try:
        open_streams = len(streams)
        while open_streams:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                open_streams -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
