"""The blind arena: two replies side by side and a vote, after which the models are named.

An open match (messages, replies, sides) is kept in memory until the vote; a vote is on the disk
before it is answered. Before that, no response contains a name, a revision, a digest or a token
count of either model. `feedback.arena` decides the sides.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from secrets import token_hex
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from privllm.feedback.arena import Sides, sides
from privllm.feedback.ranking import ranking
from privllm.feedback.records import Choice, Decoding, ModelReply, Vote
from privllm.serve.auth import utc_now
from privllm.serve.chat_api import (
    MAX_CHARACTERS,
    DecodingFields,
    add_static_files,
    default_decoding,
    rater_name,
)
from privllm.serve.database import AlreadyExists
from privllm.serve.engine.base import Engine, GenerationRequest, RequestRefused, SamplingSettings, Text
from privllm.serve.limits import RateLimiter
from privllm.serve.metrics import Metrics
from privllm.serve.middleware import Authenticator, admit, read_body
from privllm.serve.openai_fields import MAX_MESSAGES, ChatMessage, StrictModel, parse
from privllm.serve.openai_responses import UNTUNED_NOTE
from privllm.serve.reply_streams import ClosingStreamingResponse, stream_limited

MAX_OPEN_MATCHES = 200  # matches without a vote; the oldest is dropped first
SIDES = ("left", "right")


class MatchRequest(StrictModel):
    """Body of /api/match."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    decoding: DecodingFields

    def to_generation_request(self) -> GenerationRequest:
        messages = tuple(message.to_message() for message in self.messages)
        return GenerationRequest(messages, "", SamplingSettings(**self.decoding.model_dump()))


class VoteRequest(StrictModel):
    """Body of /api/match/ID/vote."""

    choice: Choice
    rater: Annotated[str, Field(max_length=64)] = ""
    reason: Annotated[str, Field(max_length=MAX_CHARACTERS)] = ""


@dataclass
class Match:
    """A match without a vote."""

    id: str
    request: GenerationRequest
    sides: Sides  # indices of the engines that are left and right
    owner: str  # name of the access token
    texts: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SIDES, ""))  # by side
    ended: set[str] = field(default_factory=set)  # sides whose reply is complete


def arena_router(engines: Sequence[Engine], authenticator: Authenticator, metrics: Metrics, secret: str) -> APIRouter:
    """Return the router of the arena. `secret` decides the sides and must not be guessable."""
    router = APIRouter()
    open_matches: OrderedDict[str, Match] = OrderedDict()

    async def leaderboard() -> list[dict[str, Any]]:
        votes = await run_in_threadpool(authenticator.database.votes)
        return [asdict(row) for row in ranking(votes)]

    @router.get("/api/page")
    async def page(request: Request) -> dict[str, Any]:
        name, _ = await authenticator.authenticate(request)
        untuned = any(engine.served.tuned is False for engine in engines)
        return {"note": UNTUNED_NOTE if untuned else "", "rater": name, "usual": default_decoding()}

    @router.post("/api/match")
    async def start_match(request: Request) -> ClosingStreamingResponse:
        name, limiter = await authenticator.authenticate(request)
        payload = parse(MatchRequest, await read_body(request))
        identifier = token_hex(16)
        match_sides = sides(len(engines), secret, identifier)
        match = Match(identifier, payload.to_generation_request(), match_sides, name)
        for engine in engines:
            await engine.count_tokens(match.request)  # both must be able to answer
        open_matches[identifier] = match
        while len(open_matches) > MAX_OPEN_MATCHES:
            open_matches.popitem(last=False)
        return ClosingStreamingResponse(_play(match, engines, limiter, metrics), media_type="application/x-ndjson")

    @router.post("/api/match/{identifier}/vote")
    async def vote(request: Request, identifier: str) -> dict[str, Any]:
        name, limiter = await authenticator.authenticate(request)
        admit(limiter, 0)
        payload = parse(VoteRequest, await read_body(request))
        match = open_matches.get(identifier)
        if match is None or match.owner != name:
            raise RequestRefused(404, "this match is over, or was never played.")
        if match.ended != set(SIDES):
            raise RequestRefused(409, "vote once both replies have ended.")
        record = _vote(match, payload, engines, rater_name(name, payload.rater))
        try:
            await run_in_threadpool(authenticator.database.vote, record)
        except AlreadyExists:
            raise RequestRefused(409, "this match was voted on already.") from None
        open_matches.pop(identifier, None)
        return {
            "left": asdict(record.left.model),
            "right": asdict(record.right.model),
            "ranking": await leaderboard(),
        }

    @router.delete("/api/match/{identifier}/vote")
    async def take_back(request: Request, identifier: str) -> dict[str, Any]:
        """Delete a vote. The match is over, for its models were named; a token takes back its own votes alone."""
        name, limiter = await authenticator.authenticate(request)
        admit(limiter, 0)
        database = authenticator.database
        if not await run_in_threadpool(database.withdraw, "vote", identifier, name or None):
            raise RequestRefused(404, "there is no such vote of yours.", "id")
        return {"taken_back": True, "ranking": await leaderboard()}

    add_static_files(router, {"/": "arena.html"})
    return router


def _vote(match: Match, payload: VoteRequest, engines: Sequence[Engine], rater: str) -> Vote:
    left_index, right_index = match.sides
    settings = match.request.settings
    return Vote(
        id=match.id,
        rater=rater,
        time=utc_now(),
        messages=match.request.messages or (),
        left=ModelReply(engines[left_index].served.model, match.texts["left"]),
        right=ModelReply(engines[right_index].served.model, match.texts["right"]),
        decoding=Decoding(settings.temperature, settings.top_p, settings.max_tokens, settings.seed),
        choice=payload.choice,
        reason=payload.reason,
    )


async def _play(
    match: Match, engines: Sequence[Engine], limiter: RateLimiter | None, metrics: Metrics
) -> AsyncIterator[bytes]:
    """Yield lines of JSON: the match's id, then pieces and ends of both replies as they come."""
    lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def generate(side: str, engine: Engine) -> None:
        try:
            async with aclosing(stream_limited(engine, [match.request], limiter, metrics)) as events:  # type: ignore[type-var]
                async for _, event in events:
                    if isinstance(event, Text):
                        match.texts[side] += event.text
                        await lines.put({"side": side, "text": event.text})
            match.ended.add(side)
            await lines.put({"side": side, "end": True})
        except RequestRefused as error:
            await lines.put({"side": side, "error": error.message})

    async def generate_both() -> None:
        left_index, right_index = match.sides
        await asyncio.gather(
            generate("left", engines[left_index]),
            generate("right", engines[right_index]),
        )
        await lines.put(None)

    generation = asyncio.create_task(generate_both())
    try:
        yield _json_line({"match": match.id})
        while (line := await lines.get()) is not None:
            yield _json_line(line)
    finally:
        generation.cancel()
        await asyncio.gather(generation, return_exceptions=True)


def _json_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
