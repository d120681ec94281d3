"""OpenAI's wire format: requests checked, responses and stream chunks built.

What we do not do is refused by name, not ignored; a field that only says "the usual" (n=1, no tools) may stand. Defaults are those of
`privllm chat`. It is a format only: it generates nothing and knows no limits but those of a request itself.
"""

import time
from secrets import randbelow, token_hex
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from privllm.feedback.records import Message
from privllm.serve.engine.base import Ask, Done, Refused, Served, Settings

MOST_TOKENS = 4096  # of a reply
MOST_MESSAGES = 256
NO_TUNING = "This model continues text and was not tuned to answer: a chat continues the last message, and sees none before it."
# Fields that change nothing with these values, and are refused with any other.
USUAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "top_logprobs"), (None, 0)),
    **dict.fromkeys(("logprobs", "echo", "store", "parallel_tool_calls"), (None, False)),
    **dict.fromkeys(("n", "best_of"), (None, 1)),
    **{name: (None, []) for name in ("tools", "functions")},
    **{name: (None, {}) for name in ("logit_bias", "metadata")},
    "modalities": (None, ["text"]),
    "response_format": (None, {"type": "text"}),
    "service_tier": (None, "auto", "default"),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
}
Schema = TypeVar("Schema", bound=BaseModel)


def _warm(value: float | None) -> float | None:
    if value and value < 0.01:  # dividing by next to nothing gives no probabilities
        raise ValueError("must be 0 or at least 0.01")
    return value


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(Strict):
    include_usage: bool = False


class TextPart(Strict):
    type: Literal["text"]
    text: str


class Turn(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def message(self) -> Message:
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, content)


class Request(Strict):
    """What both kinds of request have. `user` is accepted and kept nowhere."""

    model: str
    max_tokens: Annotated[int | None, Field(ge=1, le=MOST_TOKENS)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, allow_inf_nan=False), AfterValidator(_warm)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    def settings(self) -> Settings:
        usual = Settings()
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Settings(
            self.max_tokens or usual.max_tokens,
            usual.temperature if self.temperature is None else self.temperature,
            self.top_p or usual.top_p,
            randbelow(2**31) if self.seed is None else self.seed,
            tuple(text for text in stop if text),
        )

    def ask(self) -> Ask:
        raise NotImplementedError

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(Request):
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MOST_TOKENS)] = None

    def ask(self) -> Ask:
        if self.messages[-1].role != "user":
            raise Refused(400, "the last message must be the user's.", "messages")
        self.max_tokens = self.max_completion_tokens or self.max_tokens
        return Ask(tuple(turn.message() for turn in self.messages), "", self.settings())


class TextRequest(Request):
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]

    def ask(self) -> Ask:
        return Ask(None, self.prompt if isinstance(self.prompt, str) else self.prompt[0], self.settings())


def parse(schema: type[Schema], body: bytes) -> Schema:
    """Raises Refused with status 400 and the name of the field at fault."""
    try:
        plain = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error}.") from None
    if not isinstance(plain, dict):
        raise Refused(400, "the body must be a JSON object.")
    for name, usual in USUAL.items():
        if name in plain and name not in schema.model_fields:
            if not any(plain[name] == value and isinstance(plain[name], bool) == isinstance(value, bool) for value in usual):
                raise Refused(400, f"`{name}` is not supported here; leave it out.", name)
            del plain[name]
    try:
        return schema.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # A field of several types is followed by the type that was tried.
        name = ".".join(part for part in map(str, first["loc"]) if part != "str" and not part.startswith(("list[", "constrained-")))
        unknown = first["type"] == "extra_forbidden"
        said = "is not supported here; leave it out" if unknown else first["msg"][:1].lower() + first["msg"][1:]
        raise Refused(400, f"`{name}`: {said}.", name) from None


class Writer:
    """One reply's response, or its chunks."""

    def __init__(self, served: Served, chat: bool) -> None:
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{token_hex(16)}"
        self.chat, self._object = chat, "chat.completion" if chat else "text_completion"
        fingerprint = served.model.digest or None
        self._common = {"id": self.id, "created": int(time.time()), "model": served.model.name, "system_fingerprint": fingerprint}

    def first(self) -> dict[str, Any] | None:
        """What goes before the text of a chat's stream."""
        return self._chunk({"role": "assistant", "content": ""}, None) if self.chat else None

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text}, None) if self.chat else self._chunk(text, None)

    def last(self, done: Done) -> dict[str, Any]:
        return self._chunk({} if self.chat else "", done.reason)

    def usage(self, done: Done) -> dict[str, Any]:
        """The chunk that `stream_options.include_usage` asks for."""
        return self._common | {"object": self._object + (".chunk" if self.chat else ""), "choices": [], "usage": usage(done)}

    def whole(self, text: str, done: Done) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        choice = {"index": 0, "logprobs": None, "finish_reason": done.reason} | said
        return self._common | {"object": self._object, "choices": [choice], "usage": usage(done)}

    def _chunk(self, delta: Any, reason: str | None) -> dict[str, Any]:
        said = {"delta": delta} if self.chat else {"text": delta}
        choice = {"index": 0, "logprobs": None, "finish_reason": reason} | said
        return self._common | {"object": self._object + (".chunk" if self.chat else ""), "choices": [choice]}


def usage(done: Done) -> dict[str, int] | None:
    """True counts, or none where another server would not say them."""
    if done.prompt_tokens is None or done.completion_tokens is None:
        return None
    total = done.prompt_tokens + done.completion_tokens
    return {"prompt_tokens": done.prompt_tokens, "completion_tokens": done.completion_tokens, "total_tokens": total}


def model_card(served: Served) -> dict[str, Any]:
    """An entry of /v1/models; `privllm` holds what OpenAI's format has no place for."""
    note = NO_TUNING if served.tuned is False else ""
    ours = {"tuned": served.tuned, "context": served.context, "digest": served.model.digest, "note": note}
    return {"id": served.model.name, "object": "model", "created": 0, "owned_by": "privllm", "privllm": ours}


def error_body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}
