"""OpenAI's wire format: validation of requests, and construction of responses and stream chunks.

A feature that we do not have is refused by name, not ignored; a field that only asks for the
default (n=1, no tools) is accepted. Defaults are those of `privllm chat`. Nothing is generated
here, and no limits are known but those of a single request.
"""

import time
from secrets import randbelow, token_hex
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from privllm.feedback.records import Message
from privllm.serve.engine.base import (
    Done,
    GenerationRequest,
    RequestRefused,
    SamplingSettings,
    ServedModel,
)

MAX_TOKENS = 4096  # of a reply
MAX_MESSAGES = 256
UNTUNED_NOTE = (
    "This model continues text and was not tuned to answer: a chat continues the last message, and sees none before it."
)
# Fields that are accepted with these values, which change nothing, and refused with any other.
ACCEPTED_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "top_logprobs": (None, 0),
    "logprobs": (None, False),
    "echo": (None, False),
    "store": (None, False),
    "parallel_tool_calls": (None, False),
    "n": (None, 1),
    "best_of": (None, 1),
    "tools": (None, []),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "metadata": (None, {}),
    "modalities": (None, ["text"]),
    "response_format": (None, {"type": "text"}),
    "service_tier": (None, "auto", "default"),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
}
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
Schema = TypeVar("Schema", bound=BaseModel)


def _check_temperature(value: float | None) -> float | None:
    if value and value < 0.01:  # logits divided by less give no probabilities
        raise ValueError("must be 0 or at least 0.01")
    return value


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(StrictModel):
    include_usage: bool = False


class TextPart(StrictModel):
    type: Literal["text"]
    text: str


class ChatMessage(StrictModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def to_message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role, self.content)
        return Message(role, "".join(piece.text for piece in self.content))


class BaseRequest(StrictModel):
    """Fields of both kinds of request. `user` is accepted and not stored."""

    model: str
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    temperature: Annotated[
        float | None,
        Field(ge=0, le=2, allow_inf_nan=False),
        AfterValidator(_check_temperature),
    ] = None
    top_p: Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    def settings(self) -> SamplingSettings:
        defaults = SamplingSettings()
        stop_texts = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingSettings(
            max_tokens=self.max_tokens or defaults.max_tokens,
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=self.top_p or defaults.top_p,
            seed=randbelow(2**31) if self.seed is None else self.seed,
            stop=tuple(text for text in stop_texts if text),
        )

    def to_generation_request(self) -> GenerationRequest:
        raise NotImplementedError

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatCompletionRequest(BaseRequest):
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None

    def to_generation_request(self) -> GenerationRequest:
        if self.messages[-1].role != "user":
            raise RequestRefused(400, "the last message must be the user's.", "messages")
        self.max_tokens = self.max_completion_tokens or self.max_tokens
        messages = tuple(message.to_message() for message in self.messages)
        return GenerationRequest(messages, "", self.settings())


class CompletionRequest(BaseRequest):
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]

    def to_generation_request(self) -> GenerationRequest:
        text = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        return GenerationRequest(None, text, self.settings())


def parse(schema: type[Schema], body: bytes) -> Schema:
    """Return the request in `body`. Raises RequestRefused (400) that names the wrong field."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(400, f"the body is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise RequestRefused(400, "the body must be a JSON object.")
    for name, defaults in ACCEPTED_DEFAULTS.items():
        if name not in fields or name in schema.model_fields:
            continue
        if not any(_same_json(fields[name], default) for default in defaults):
            raise RequestRefused(400, f"`{name}` is not supported here; leave it out.", name)
        del fields[name]
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise _field_error(error) from None


def _same_json(value: Any, default: Any) -> bool:
    """Return whether the values are equal as JSON, where false is not 0."""
    return value == default and isinstance(value, bool) == isinstance(default, bool)


def _field_error(error: ValidationError) -> RequestRefused:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = []
    for step in map(str, first["loc"]):
        # pydantic names the type that it tried after a field of several types
        if step != "str" and not step.startswith(("list[", "constrained-")):
            path.append(step)
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        return RequestRefused(400, f"`{name}`: is not supported here; leave it out.", name)
    message = first["msg"]
    return RequestRefused(400, f"`{name}`: {message[:1].lower()}{message[1:]}.", name)


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
        return self._common | {"object": self._object, "choices": [choice], "usage": usage(done)}

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
        return self._chunk(content, done.reason)

    def usage_chunk(self, done: Done) -> dict[str, Any]:
        """Return the chunk that `stream_options.include_usage` requests."""
        return self._common | {"object": self._chunk_object, "choices": [], "usage": usage(done)}

    def _chunk(self, content: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = _choice(content, reason)
        return self._common | {"object": self._chunk_object, "choices": [choice]}


def _choice(content: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "logprobs": None, "finish_reason": reason} | content


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


def error_body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    default_type = "invalid_request_error" if status < 500 else "server_error"
    error_type = ERROR_TYPES.get(status, default_type)
    return {"error": {"message": message, "type": error_type, "param": param, "code": None}}
