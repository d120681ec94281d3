"""The chat page, and the API by which it rates replies.

A rating is stored with the messages it is about, if the server signed the reply; it can be taken back.
Nothing is stored of replies that are not rated.
The page consists of a few static files that are read once: no path from a browser is ever looked up
on the disk. It generates nothing (the page uses /v1).
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from privllm.feedback.records import Decoding, Model, Rating, Thumb
from privllm.serve.auth import utc_now
from privllm.serve.database import AlreadyExists
from privllm.serve.engine.base import RequestRefused, SamplingSettings, ServedModel
from privllm.serve.middleware import Authenticator, admit, read_body
from privllm.serve.openai_fields import MAX_MESSAGES, ChatMessage, StrictModel, parse
from privllm.serve.openai_requests import MAX_TOKENS
from privllm.serve.openai_responses import model_card
from privllm.serve.signatures import Signer

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
REPLY_ID = re.compile(r"chatcmpl-[\w-]{1,80}")
ANONYMOUS = "anonymous"
MAX_CHARACTERS = 200_000  # of a correction or a reason


class DecodingFields(StrictModel):
    """Sampling parameters of a rated reply."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]

    def to_record(self) -> Decoding:
        return Decoding(**self.model_dump())


class RatingRequest(StrictModel):
    """Body of /api/rating."""

    id: str
    digest: str  # of the model that wrote the reply: the reply's `system_fingerprint`
    rater: Annotated[str, Field(max_length=64)] = ""
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    reply: str
    signature: Annotated[str, Field(max_length=64)]  # of the reply: `privllm.signature` of its last piece
    decoding: DecodingFields
    thumb: Thumb
    correction: Annotated[str, Field(max_length=MAX_CHARACTERS)] = ""
    reason: Annotated[str, Field(max_length=MAX_CHARACTERS)] = ""


def chat_router(served: ServedModel, authenticator: Authenticator, signer: Signer) -> APIRouter:
    router = APIRouter()

    @router.get("/api/page")
    async def page(request: Request) -> dict[str, Any]:
        """Return what the page needs to know."""
        name, _ = await authenticator.authenticate(request)
        return {"model": model_card(served), "rater": name, "usual": default_decoding()}

    @router.post("/api/rating")
    async def rate(request: Request) -> dict[str, Any]:
        name, limiter = await authenticator.authenticate(request)
        admit(limiter, 0)
        payload = parse(RatingRequest, await read_body(request))
        rating = _rating(payload, rater_name(name, payload.rater), served.model)
        if not signer.verifies(payload.signature, rating.id, rating.messages, rating.reply):
            message = "this server did not say that in answer to these messages, so it cannot be rated."
            raise RequestRefused(403, message, "signature")
        try:
            edition = await run_in_threadpool(authenticator.database.rate, rating)
        except AlreadyExists:
            raise RequestRefused(409, "this reply was rated under another name.", "id") from None
        return {"edition": edition}

    @router.delete("/api/rating/{identifier}")
    async def take_back(request: Request, identifier: str) -> dict[str, Any]:
        """Delete a rating. Its id is known to whoever was answered; a token takes back its own alone."""
        name, limiter = await authenticator.authenticate(request)
        admit(limiter, 0)
        database = authenticator.database
        if not await run_in_threadpool(database.withdraw, "rating", identifier, name or None):
            raise RequestRefused(404, "there is no such rating of yours.", "id")
        return {"taken_back": True}

    add_static_files(router, {"/": "chat.html"})
    return router


def _rating(payload: RatingRequest, rater: str, model: Model) -> Rating:
    if not REPLY_ID.fullmatch(payload.id):
        raise RequestRefused(400, "`id` names no reply.", "id")
    if payload.digest != model.digest:
        raise RequestRefused(409, "another model is served by now: reload the page.", "digest")
    correction, reason = (text if text.strip() else "" for text in (payload.correction, payload.reason))
    if not (payload.thumb or correction or reason):
        raise RequestRefused(400, "a rating needs a thumb, a correction or a reason; DELETE takes one back.", "thumb")
    return Rating(
        id=payload.id,
        edition=1,
        rater=rater,
        time=utc_now(),
        model=model,
        messages=tuple(message.to_message() for message in payload.messages),
        reply=payload.reply,
        decoding=payload.decoding.to_record(),
        thumb=payload.thumb,
        correction=correction,
        reason=reason,
    )


def rater_name(token_name: str, typed_name: str) -> str:
    """Return the access token's name, or else the name that was typed.

    Of a typed name spaces are normalised and unprintable characters left out: the next build would
    refuse them in a name.
    """
    normalised = " ".join(typed_name.split())
    printable_name = "".join(character for character in normalised if character.isprintable())
    return token_name or printable_name.strip() or ANONYMOUS


def default_decoding() -> dict[str, Any]:
    """Return the sampling parameters that the page starts with."""
    settings = SamplingSettings()
    return {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_tokens,
    }


def add_static_files(router: APIRouter, pages: dict[str, str]) -> None:
    """Add routes for `pages`, {path: file name}, and for other static files at /static/NAME."""
    paths = dict(pages)
    for file in sorted(STATIC.rglob("*")):
        if file.suffix in MEDIA_TYPES and file.suffix != ".html":
            name = file.relative_to(STATIC).as_posix()
            paths[f"/static/{name}"] = name
    for path, name in paths.items():
        router.add_api_route(path, _file_endpoint(STATIC / name), methods=["GET", "HEAD"], name=path)


def _file_endpoint(file: Path) -> Callable[[], Response]:
    """Return an endpoint that answers with the content of `file`, which is read now."""
    content = file.read_bytes()
    media_type = MEDIA_TYPES[file.suffix]

    def answer() -> Response:
        return Response(content, media_type=media_type)

    return answer
