"""The web page of a chat, and what a person says of a reply.

A rating is kept with the messages it is about; whatever is not rated is not stored. The page is a few static files, read once: no
path that a browser sends is ever looked up on the disk. It generates nothing (the page uses /v1).
"""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Request as Call
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from privllm.feedback.records import Decoding, Model, Rating, Thumb
from privllm.serve.auth import now
from privllm.serve.database import Taken
from privllm.serve.engine.base import Refused, Served, Settings
from privllm.serve.middleware import Door, admit, body_of
from privllm.serve.openai_format import MOST_MESSAGES, MOST_TOKENS, Strict, Turn, model_card, parse

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
REPLY_ID = re.compile(r"chatcmpl-[\w-]{1,80}")
NOBODY = "anonymous"
LONGEST = 200_000  # characters of a correction or a reason


class GivenDecoding(Strict):
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]

    def record(self) -> Decoding:
        return Decoding(**self.model_dump())


class GivenRating(Strict):
    id: str
    digest: str  # of the model that said it, as the reply's `system_fingerprint` named it
    rater: Annotated[str, Field(max_length=64)] = ""
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MOST_MESSAGES)]
    reply: str
    decoding: GivenDecoding
    thumb: Thumb
    correction: Annotated[str, Field(max_length=LONGEST)] = ""
    reason: Annotated[str, Field(max_length=LONGEST)] = ""


def chat_pages(served: Served, door: Door) -> APIRouter:
    router = APIRouter()

    @router.get("/api/page")
    def page(call: Call) -> dict[str, Any]:
        """What the page needs to know."""
        name, _ = door.caller(call)
        return {"model": model_card(served), "rater": name, "usual": usual()}

    @router.post("/api/rating")
    async def rate(call: Call) -> dict[str, Any]:
        name, meter = door.caller(call)
        admit(meter, 0)
        given = parse(GivenRating, await body_of(call))
        rating = _rating(given, rater_of(name, given.rater), served.model)
        try:
            return {"edition": await run_in_threadpool(door.people.rate, rating)}
        except Taken:
            raise Refused(409, "somebody else rated this reply.", "id") from None

    static(router, {"/": "chat.html"})
    return router


def _rating(given: GivenRating, rater: str, model: Model) -> Rating:
    if not REPLY_ID.fullmatch(given.id):
        raise Refused(400, "`id` names no reply.", "id")
    if given.digest != model.digest:
        raise Refused(409, "another model is served by now: reload the page.", "digest")
    if not (given.thumb or given.correction or given.reason):
        raise Refused(400, "a rating needs a thumb, a correction or a reason.", "thumb")
    messages = tuple(turn.message() for turn in given.messages)
    texts = given.correction, given.reason
    return Rating(given.id, 1, rater, now(), model, messages, given.reply, given.decoding.record(), given.thumb, *texts)


def rater_of(token: str, typed: str) -> str:
    """The token's name where there is one; otherwise the pseudonym that was typed, without what the next build would refuse in a name."""
    shown = "".join(sign for sign in " ".join(typed.split()) if sign.isprintable())
    return token or shown.strip() or NOBODY


def usual() -> dict[str, Any]:
    """The decoding settings that the page begins with."""
    settings = asdict(Settings())
    return {name: settings[name] for name in ("temperature", "top_p", "max_tokens")}


def static(router: APIRouter, pages: dict[str, str]) -> None:
    """The files of `static/`, each at /static/NAME, and `pages`: {path: file name}."""
    files = {path.name: (path.read_bytes(), TYPES[path.suffix]) for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}
    paths = {f"/static/{name}": name for name in files if not name.endswith(".html")} | pages

    def served(name: str) -> Any:
        def answer() -> Response:
            return Response(files[name][0], media_type=files[name][1])

        return answer

    for path, name in paths.items():
        router.add_api_route(path, served(name), methods=["GET", "HEAD"], name=path)
