"""OpenAI's wire format of what the server says: responses, stream chunks, model cards and errors.

What OpenAI's format has no field for stands under `privllm`. Nothing is generated here.
"""

import time
from secrets import token_hex
from typing import Any

from privllm.serve.engine.base import Done, RequestRefused, ServedModel

UNTUNED_NOTE = (
    "This model continues text and was not tuned to answer: a chat continues the last message, and sees none before it."
)
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
ERROR_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}  # where the refusal names none


class ResponseWriter:
    """Builder of one reply's response, or of its stream chunks."""

    def __init__(self, served: ServedModel, chat: bool) -> None:
        prefix = "chatcmpl" if chat else "cmpl"
        self.id = f"{prefix}-{token_hex(16)}"
        self.chat = chat
        self._object = "chat.completion" if chat else "text_completion"
        self._chunk_object = "chat.completion.chunk" if chat else "text_completion"
        self._common = {
            "id": self.id,
            "created": int(time.time()),
            "model": served.model.name,
            "system_fingerprint": served.model.digest or None,
        }

    def response(self, text: str, done: Done) -> dict[str, Any]:
        """Return the response of a request that is not streamed."""
        content: dict[str, Any] = {"text": text}
        if self.chat:
            content = {"message": {"role": "assistant", "content": text, "refusal": None}}
        choice = _choice(content, done.reason)
        body = self._common | {"object": self._object, "choices": [choice], "usage": usage(done)}
        return body | _extension(done)

    def first_chunk(self) -> dict[str, Any] | None:
        """Return the first chunk of a chat, which names the role; None for other requests."""
        if not self.chat:
            return None
        return self._chunk({"delta": {"role": "assistant", "content": ""}}, None)

    def text_chunk(self, text: str) -> dict[str, Any]:
        content = {"delta": {"content": text}} if self.chat else {"text": text}
        return self._chunk(content, None)

    def last_chunk(self, done: Done) -> dict[str, Any]:
        content: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
        return self._chunk(content, done.reason) | _extension(done)

    def usage_chunk(self, done: Done) -> dict[str, Any]:
        """Return the chunk that `stream_options.include_usage` requests."""
        return self._common | {"object": self._chunk_object, "choices": [], "usage": usage(done)}

    def _chunk(self, content: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = _choice(content, reason)
        return self._common | {"object": self._chunk_object, "choices": [choice]}


def _choice(content: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "logprobs": None, "finish_reason": reason} | content


def _extension(done: Done) -> dict[str, Any]:
    """Return how many messages the model did not see, where there are any."""
    return {"privllm": {"left_out": done.left_out}} if done.left_out else {}


def usage(done: Done) -> dict[str, int] | None:
    """Return token counts in OpenAI's format; None where a remote server does not report them."""
    if done.prompt_tokens is None or done.completion_tokens is None:
        return None
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
    }


def model_card(served: ServedModel) -> dict[str, Any]:
    """Return an entry of /v1/models; `privllm` holds what OpenAI's format has no field for."""
    extension = {
        "tuned": served.tuned,
        "context": served.context,
        "digest": served.model.digest,
        "note": UNTUNED_NOTE if served.tuned is False else "",
    }
    return {
        "id": served.model.name,
        "object": "model",
        "created": 0,
        "owned_by": "privllm",
        "privllm": extension,
    }


def error_body(refused: RequestRefused) -> dict[str, Any]:
    """Return `refused` in OpenAI's format, with the code that its clients look at."""
    default_type = "invalid_request_error" if refused.status < 500 else "server_error"
    error = {
        "message": refused.message,
        "type": ERROR_TYPES.get(refused.status, default_type),
        "param": refused.param,
        "code": refused.code or ERROR_CODES.get(refused.status),
    }
    return {"error": error}
