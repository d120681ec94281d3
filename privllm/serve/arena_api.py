"""The blind arena: two replies side by side, and a vote; only then the browser learns who spoke.

What is open (messages, replies, sides) is kept in memory until the vote; a vote is on the disk before it is answered. Before it, no
answer of this router holds a name, a revision, a digest or a token count of either model. It draws sides from `feedback.arena`.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from secrets import token_hex
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Request as Call
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from privllm.feedback.arena import Sides, sides
from privllm.feedback.ranking import ranking
from privllm.feedback.records import Choice, Message, ModelReply, Vote
from privllm.serve.auth import now
from privllm.serve.chat_api import LONGEST, GivenDecoding, rater_of, static, usual
from privllm.serve.database import Taken
from privllm.serve.engine.base import Ask, Engine, Refused, Settings, Text
from privllm.serve.limits import Meter
from privllm.serve.middleware import Door, admit, body_of
from privllm.serve.openai_api import Stream, metered
from privllm.serve.openai_format import MOST_MESSAGES, NO_TUNING, Strict, Turn, parse

MOST_OPEN = 200  # matches without a vote; the oldest is forgotten first
NAMES = ("left", "right")


class GivenMatch(Strict):
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MOST_MESSAGES)]
    decoding: GivenDecoding


class GivenVote(Strict):
    choice: Choice
    rater: Annotated[str, Field(max_length=64)] = ""
    reason: Annotated[str, Field(max_length=LONGEST)] = ""


@dataclass
class Match:
    ask: Ask
    sides: Sides  # which engine is left, which right
    owner: str  # the token's name
    texts: dict[str, str] = field(default_factory=lambda: dict.fromkeys(NAMES, ""))
    ended: set[str] = field(default_factory=set)


def arena_pages(engines: Sequence[Engine], door: Door, secret: str) -> APIRouter:
    """`secret` decides the sides; it must not be guessed."""
    router = APIRouter()
    open_matches: OrderedDict[str, Match] = OrderedDict()

    @router.get("/api/page")
    def page(call: Call) -> dict[str, Any]:
        name, _ = door.caller(call)
        note = NO_TUNING if any(engine.served.tuned is False for engine in engines) else ""
        return {"note": note, "rater": name, "usual": usual()}

    @router.post("/api/match")
    async def match(call: Call) -> Stream:
        name, meter = door.caller(call)
        given = parse(GivenMatch, await body_of(call))
        settings = Settings(**given.decoding.model_dump())
        identifier, ask = token_hex(16), Ask(tuple(turn.message() for turn in given.messages), "", settings)
        made = Match(ask, sides(len(engines), secret, identifier), name)
        for engine in engines:
            await engine.size(ask)
        open_matches[identifier] = made
        while len(open_matches) > MOST_OPEN:
            open_matches.popitem(last=False)
        return Stream(_play(identifier, made, engines, meter), media_type="application/x-ndjson")

    @router.post("/api/match/{identifier}/vote")
    async def vote(call: Call, identifier: str) -> dict[str, Any]:
        name, meter = door.caller(call)
        admit(meter, 0)
        given = parse(GivenVote, await body_of(call))
        held = open_matches.get(identifier)
        if held is None or held.owner != name:
            raise Refused(404, "this match is over, or was never played.")
        if held.ended != set(NAMES):
            raise Refused(409, "vote once both replies have ended.")
        cast = _vote(identifier, held, given, [engine.served.model for engine in engines], rater_of(name, given.rater))
        try:
            await run_in_threadpool(door.people.vote, cast)
        except Taken:
            raise Refused(409, "this match was voted on already.") from None
        open_matches.pop(identifier, None)
        standings = ranking(await run_in_threadpool(door.people.votes))
        return {"left": asdict(cast.left.model), "right": asdict(cast.right.model), "ranking": [asdict(row) for row in standings]}

    static(router, {"/": "arena.html"})
    return router


def _vote(identifier: str, held: Match, given: GivenVote, models: Sequence[Any], rater: str) -> Vote:
    left, right = (ModelReply(models[index], held.texts[name]) for name, index in zip(NAMES, held.sides, strict=True))
    messages: tuple[Message, ...] = held.ask.messages or ()
    decoding = GivenDecoding(**{name: getattr(held.ask.settings, name) for name in GivenDecoding.model_fields}).record()
    return Vote(identifier, rater, now(), messages, left, right, decoding, given.choice, given.reason)


async def _play(identifier: str, match: Match, engines: Sequence[Engine], meter: Meter | None) -> AsyncIterator[bytes]:
    """Lines of JSON: the match's id, then pieces of both sides as they come, then their ends."""
    lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def speak(name: str, engine: Engine) -> None:
        try:
            async with aclosing(metered(engine, match.ask, meter)) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, Text):
                        match.texts[name] += event.text
                        await lines.put({"side": name, "text": event.text})
            match.ended.add(name)
            await lines.put({"side": name, "end": True})
        except Refused as error:
            await lines.put({"side": name, "error": error.message})

    async def both() -> None:
        await asyncio.gather(*(speak(name, engines[index]) for name, index in zip(NAMES, match.sides, strict=True)))
        await lines.put(None)

    playing = asyncio.create_task(both())
    try:
        yield _line({"match": identifier})
        while (line := await lines.get()) is not None:
            yield _line(line)
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
