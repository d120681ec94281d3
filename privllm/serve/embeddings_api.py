"""/v1/embeddings: vectors of texts, in OpenAI's format, by an engine that reads and does not write.

Nothing is stored. Which folders give embeddings, `folders` says.
"""

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from privllm.serve.engine.base import Embedder, Engine, RequestRefused
from privllm.serve.metrics import Metrics
from privllm.serve.middleware import Authenticator, admit, read_body
from privllm.serve.openai_api import require_served
from privllm.serve.openai_fields import parse
from privllm.serve.openai_requests import EmbeddingRequest
from privllm.serve.reply_streams import run_until_disconnect


def embeddings_router(engine: Engine, authenticator: Authenticator, metrics: Metrics) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/embeddings")
    async def embeddings(request: Request) -> dict[str, Any]:
        _, limiter = await authenticator.authenticate(request)
        payload = parse(EmbeddingRequest, await read_body(request))
        require_served(engine, payload.model)
        if not isinstance(engine, Embedder):
            raise _gives_none(payload.model)
        _require_dimensions(payload.dimensions, engine.served.dimensions)
        texts = await engine.encode_inputs(payload.inputs())
        tokens = sum(map(len, texts))
        admit(limiter, tokens)
        try:
            vectors = await run_until_disconnect(request, engine.embed(texts))
        except RequestRefused:
            if limiter:
                limiter.settle(tokens, 0)
            raise
        metrics.prompt_tokens += tokens
        return {
            "object": "list",
            "data": [_entry(index, vector, payload.encoding_format) for index, vector in enumerate(vectors)],
            "model": payload.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    return router


def _entry(index: int, vector: np.ndarray, encoding: str) -> dict[str, Any]:
    embedding: Any = vector.tolist()
    if encoding == "base64":
        embedding = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return {"object": "embedding", "index": index, "embedding": embedding}


def _gives_none(name: str) -> RequestRefused:
    message = (
        f"the model `{name}` writes text and gives no embeddings: `privllm serve data/export/masked` serves one that does, "
        "and `privllm serve FOLDER` any of sentence-transformers."
    )
    return RequestRefused(400, message, "model", code="unsupported_model")


def _require_dimensions(wanted: int | None, given: int | None) -> None:
    """Raise RequestRefused (400) for vectors of another length: only few models are trained so that theirs may be cut."""
    if wanted not in (None, given):
        message = f"`dimensions`: this model's embeddings have {given} numbers, and cannot be shortened; leave it out."
        raise RequestRefused(400, message, "dimensions", code="unsupported_value")
