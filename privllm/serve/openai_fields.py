"""Fields of OpenAI's wire format: messages, and which fields are taken, ignored and refused.

Fields that we do not know are ignored, as vLLM and llama.cpp ignore them, and null is a field's
default: a reply object sent back as a message is a message. What would change the answer and cannot
be done here (tools, images, grammars but JSON) is refused by name, not ignored.
"""

from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from privllm.feedback.records import Message
from privllm.serve.engine.base import RequestRefused

MAX_MESSAGES = 4096
# Fields that would change the answer and that we do not have, each with the values that change nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "grammar": ("",),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "ignore_eos": (False,),
    "json_schema": (),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "prompt_logprobs": (),
    "repeat_penalty": (1,),
    "stop_token_ids": ([],),
    "structured_outputs": (),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "use_beam_search": (False,),
    "web_search_options": (),
}
UNSUPPORTED_IN_MESSAGES = ("audio", "function_call", "tool_calls")
PYTHON_TYPES = ("str", "bool")
TEXTS_OR_TOKENS = "a text, a list of texts, or tokens: a list of whole numbers, or several"
OF_SEVERAL_TYPES = {  # what a field may be, for those of several types
    "prompt": TEXTS_OR_TOKENS,
    "input": TEXTS_OR_TOKENS,
    "stop": "a text, or a list of texts",
    "response_format.json_schema.schema": "a JSON schema: an object",
}
PART_TYPES = ("text", "refusal")
Schema = TypeVar("Schema", bound=BaseModel)


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OpenModel(BaseModel):
    """A model whose unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)


class TextPart(OpenModel):
    type: Literal["text"]
    text: str


class RefusalPart(OpenModel):
    type: Literal["refusal"]
    refusal: str


class ChatMessage(OpenModel):
    """One message; `name` and what else a reply object holds are ignored."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]] | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "ChatMessage":
        if self.content is None and self.refusal is None:
            raise ValueError("a message needs `content`")
        return self

    def to_message(self) -> Message:
        """Return the message as one text; parts are lines, as in vLLM and llama.cpp."""
        role = "system" if self.role == "developer" else self.role
        if self.content is None:
            return Message(role, self.refusal or "")
        if isinstance(self.content, str):
            return Message(role, self.content)
        texts = [part.text if isinstance(part, TextPart) else part.refusal for part in self.content]
        return Message(role, "\n".join(texts))


def parse(schema: type[Schema], body: bytes) -> Schema:
    """Return the request in `body`. Raises RequestRefused (400) that names the wrong field."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(400, f"the body is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise RequestRefused(400, "the body must be a JSON object.")
    if issubclass(schema, OpenModel):
        fields = {name: value for name, value in fields.items() if value is not None}
        _refuse_unsupported(fields, schema)
    messages = fields.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict):
            _refuse_unsupported_message(message, f"messages[{index}]")
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise _field_error(error) from None


def _refuse_unsupported(fields: dict[str, Any], schema: type[OpenModel]) -> None:
    """Raise RequestRefused for the first field that would change the answer and is not ours."""
    for name, neutral in UNSUPPORTED.items():
        if name in schema.model_fields or name not in fields:
            continue
        if not any(_same_json(fields[name], value) for value in neutral):
            raise _unsupported(name)
    if fields.get("tools") and fields.get("tool_choice") != "none":
        raise RequestRefused(
            400,
            "`tools` cannot be called by this server: leave them out, or send `tool_choice: none`.",
            "tools",
            code="unsupported_parameter",
        )


def _refuse_unsupported_message(message: dict[str, Any], place: str) -> None:
    """Raise RequestRefused where a message holds what cannot be put to a model of text."""
    role = message.get("role")
    if role in ("tool", "function"):
        reason = f"`{place}.role`: this server calls no tools, and reads no results of any."
        raise RequestRefused(400, reason, f"{place}.role", code="unsupported_value")
    for name in UNSUPPORTED_IN_MESSAGES:
        if message.get(name):
            raise _unsupported(f"{place}.{name}")
    parts = message.get("content")
    for index, part in enumerate(parts if isinstance(parts, list) else ()):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in PART_TYPES:
            param = f"{place}.content[{index}].type"
            reason = f"`{param}`: this model reads text, and nothing else."
            raise RequestRefused(400, reason, param, code="unsupported_value")


def _unsupported(name: str) -> RequestRefused:
    return RequestRefused(400, f"`{name}` is not supported here; leave it out.", name, code="unsupported_parameter")


def _same_json(value: Any, neutral: Any) -> bool:
    """Return whether the values are equal as JSON, where false is not 0."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def _field_error(error: ValidationError) -> RequestRefused:
    """Return what is wrong with the first wrong field.

    Of a field that may be of several types pydantic tells one error for each: that of the type which was meant is told, else
    what the field may be.
    """
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    field = errors[0]["loc"][:1]
    tried = [found for found in errors if found["loc"][:1] == field]
    deepest = max(len(found["loc"]) for found in tried)
    meant = [found for found in tried if not found["type"].endswith("_type")]
    meant = meant or [found for found in tried if len(found["loc"]) == deepest]
    first = meant[0]
    name = _place(first["loc"])
    kind = first["type"]
    if kind == "extra_forbidden":
        return _unsupported(name)
    code = "invalid_value"
    if kind == "missing":
        code = "missing_required_parameter"
    elif kind.endswith("_type"):
        code = "invalid_type"
    message = first["msg"].removeprefix("Value error, ")
    if len(meant) > 1 and name in OF_SEVERAL_TYPES:
        message = f"must be {OF_SEVERAL_TYPES[name]}"
    message = f"{message[:1].lower()}{message[1:]}."
    return RequestRefused(400, f"`{name}`: {message}" if name else message, name or None, code=code)


def _place(steps: tuple[int | str, ...]) -> str:
    """Return a field's name as one would write it: `messages[0].content`."""
    name = ""
    before: int | str = ""
    for step in steps:
        is_part_type = isinstance(before, int) and step in PART_TYPES  # pydantic names the type that it tried
        if isinstance(step, int) and name not in OF_SEVERAL_TYPES:
            name += f"[{step}]"
        elif isinstance(step, str) and step not in PYTHON_TYPES and "[" not in step and not is_part_type:
            name += f".{step}" if name else step
        before = step
    return name
