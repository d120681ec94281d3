"""What is asked of a server rather than of its model: its health and its figures, and tokens of texts.

/health is open, for those who start servers and balance loads; it says nothing else. /tokenize and
/detokenize are vLLM's.
"""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import model_validator
from starlette.responses import JSONResponse, Response

from privllm.serve.engine.base import Engine, GenerationRequest, SamplingSettings
from privllm.serve.metrics import MEDIA_TYPE, Metrics
from privllm.serve.middleware import Authenticator, admit, read_body
from privllm.serve.openai_api import require_served
from privllm.serve.openai_fields import ChatMessage, OpenModel, parse


class TokenizeRequest(OpenModel):
    """Body of /tokenize: a text, or messages to answer."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None

    @model_validator(mode="after")
    def _has_one(self) -> "TokenizeRequest":
        if (self.prompt is None) == (not self.messages):
            raise ValueError("send a `prompt` or `messages`")
        return self

    def to_generation_request(self) -> GenerationRequest:
        if not self.messages:
            return GenerationRequest(None, self.prompt or "", SamplingSettings())
        messages = tuple(message.to_message() for message in self.messages)
        return GenerationRequest(messages, "", SamplingSettings())


class DetokenizeRequest(OpenModel):
    """Body of /detokenize."""

    model: str | None = None
    tokens: list[int]


def server_router(engine: Engine, authenticator: Authenticator, metrics: Metrics) -> APIRouter:
    router = APIRouter()

    @router.get("/health")
    async def health() -> JSONResponse:
        healthy = await engine.healthy()
        return JSONResponse({"status": "ok" if healthy else "failed"}, 200 if healthy else 503)

    @router.get("/metrics")
    async def figures(request: Request) -> Response:
        await authenticator.authenticate(request)
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    @router.post("/tokenize")
    async def tokenize(request: Request) -> dict[str, Any]:
        payload = await _read(request, TokenizeRequest)
        ids = await engine.encode(payload.to_generation_request())
        return {"count": len(ids), "max_model_len": engine.served.context, "tokens": ids}

    @router.post("/detokenize")
    async def detokenize(request: Request) -> dict[str, Any]:
        payload = await _read(request, DetokenizeRequest)
        return {"prompt": await engine.decode(payload.tokens)}

    async def _read(request: Request, schema: type[Any]) -> Any:
        _, limiter = await authenticator.authenticate(request)
        admit(limiter, 0)
        payload = parse(schema, await read_body(request))
        if payload.model is not None:
            require_served(engine, payload.model)
        return payload

    return router
