"""OpenAI's requests: bounds of their fields, and what they ask of engines.

Which fields are ignored or refused is said in `openai_fields`. Defaults are those of `privllm chat`.
No limits are known but those of a single request.
"""

import json
from dataclasses import replace
from secrets import randbelow
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from privllm.serve.engine.base import GenerationRequest, RequestRefused, SamplingSettings, TextInput
from privllm.serve.openai_fields import MAX_MESSAGES, ChatMessage, OpenModel

MAX_TOKENS = 131_072  # of a reply, which ends with the context of a model that answers
MAX_CHOICES = 64  # replies to one request; so many may always wait
MAX_LOGPROBS = 20  # as vLLM
MAX_INPUTS = 2048  # texts of one request for embeddings, as OpenAI


def _check_temperature(value: float | None) -> float | None:
    if value and value < 0.01:  # logits divided by less give no probabilities
        raise ValueError("must be 0 or at least 0.01")
    return value


class StreamOptions(OpenModel):
    include_usage: bool | None = None


class NamedSchema(OpenModel):
    """A JSON schema; its name and whether it is strict change nothing: it is followed to the letter."""

    json_schema: dict[str, Any] | bool = Field(alias="schema", default_factory=dict)


class ResponseFormat(OpenModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    def schema_text(self) -> str:
        """Return the schema that the reply follows; "" for any text."""
        if self.type == "text":
            return ""
        if self.type == "json_object":
            return json.dumps({"type": "object"})
        if self.json_schema is None:
            message = "`response_format`: send the schema, as `json_schema: {name, schema}`."
            raise RequestRefused(400, message, "response_format", code="missing_required_parameter")
        wanted = self.json_schema.json_schema
        return json.dumps({} if wanted is True else wanted)  # true is any JSON


def _next_seed(seed: int, count: int) -> int:
    """Return the seed `count` places on: after the greatest comes the least."""
    return (seed + count + 2**63) % 2**64 - 2**63


Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class BaseRequest(OpenModel):
    """Fields of both kinds of request."""

    model: str
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    temperature: Annotated[
        float | None,
        Field(ge=0, le=2, allow_inf_nan=False),
        AfterValidator(_check_temperature),
    ] = None
    top_p: Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False)] = None
    top_k: Annotated[int, Field(ge=-1, le=10**9)] = 0  # -1 and 0: all
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] = 1.0  # logits are divided by it
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    response_format: ResponseFormat | None = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def settings(self) -> SamplingSettings:
        defaults = SamplingSettings()
        stop_texts = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingSettings(
            max_tokens=defaults.max_tokens if self.max_tokens is None else self.max_tokens,
            temperature=defaults.temperature if self.temperature is None else self.temperature,
            top_p=self.top_p or defaults.top_p,
            seed=randbelow(2**31) if self.seed is None else self.seed,
            stop=tuple(text for text in stop_texts if text),
            top_k=max(0, self.top_k),
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            json_schema=self.response_format.schema_text() if self.response_format else "",
            logprobs=self.told_logprobs,
        )

    def to_generation_requests(self) -> list[GenerationRequest]:
        """Return a request for each choice: `n` of each prompt in turn, each with a seed of its own."""
        choices = [replace(prompt, echo=self.wants_echo) for prompt in self.prompts() for _ in range(self.n)]
        if len(choices) > MAX_CHOICES:
            param = "n" if self.n > 1 else "prompt"
            message = f"`{param}`: a request may ask for {MAX_CHOICES} replies, and this one asks for {len(choices)}."
            raise RequestRefused(400, message, param, code="invalid_value")
        seeds = [_next_seed(choice.settings.seed, index % self.n) for index, choice in enumerate(choices)]
        return [
            replace(choice, settings=replace(choice.settings, seed=seed))
            for choice, seed in zip(choices, seeds, strict=True)
        ]

    def prompts(self) -> list[GenerationRequest]:
        raise NotImplementedError

    @property
    def told_logprobs(self) -> int | None:
        """Return how many alternatives are told with each token; None: no log-probabilities."""
        raise NotImplementedError

    @property
    def wants_echo(self) -> bool:
        return False

    @property
    def wants_signatures(self) -> bool:
        return False

    @property
    def begun_reply(self) -> "BegunReply | None":
        return None

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class BegunReply(OpenModel):
    """A reply of this server that is to be written on."""

    id: Annotated[str, Field(max_length=100)]
    signature: Annotated[str, Field(max_length=64)]


class Extension(OpenModel):
    """What OpenAI's format has no field for."""

    sign: bool = False  # each piece of the reply comes with the signature of all so far, by which it can be rated
    continues: BegunReply | None = None  # what the last message is, where it is signed on


class ChatCompletionRequest(BaseRequest):
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] = 0
    continue_final_message: bool = False  # vLLM's: the assistant's last message is written on, and not repeated
    add_generation_prompt: bool = True
    privllm: Extension | None = None

    def prompts(self) -> list[GenerationRequest]:
        if not self.add_generation_prompt and not self.continue_final_message:
            message = "`add_generation_prompt` may be false only beside `continue_final_message: true`."
            raise RequestRefused(400, message, "add_generation_prompt", code="invalid_value")
        messages = tuple(message.to_message() for message in self.messages)
        begun = ""
        if self.continue_final_message:
            if len(messages) < 2 or messages[-1].role != "assistant":
                message = "`continue_final_message`: the last message must be the assistant's, after the user's."
                raise RequestRefused(400, message, "messages", code="invalid_value")
            *_, last = messages
            messages, begun = messages[:-1], last.content
        if messages[-1].role != "user":
            raise RequestRefused(400, "the last message must be the user's.", "messages")
        if self.top_logprobs and not self.logprobs:
            message = "`top_logprobs`: send `logprobs: true` too."
            raise RequestRefused(400, message, "top_logprobs", code="invalid_value")
        self.max_tokens = self.max_completion_tokens or self.max_tokens
        return [GenerationRequest(messages, "", self.settings(), begun=begun)]

    @property
    def told_logprobs(self) -> int | None:
        return self.top_logprobs if self.logprobs else None

    @property
    def wants_signatures(self) -> bool:
        return bool(self.privllm and self.privllm.sign)

    @property
    def begun_reply(self) -> BegunReply | None:
        return self.privllm.continues if self.privllm else None


class CompletionRequest(BaseRequest):
    """Texts to continue, or their tokens."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: Annotated[int | None, Field(ge=0, le=MAX_TOKENS)] = None  # 0 where only the prompt is looked at
    logprobs: Annotated[int | None, Field(ge=0, le=MAX_LOGPROBS)] = None
    echo: bool = False

    def prompts(self) -> list[GenerationRequest]:
        if self.max_tokens == 0 and not self.echo:
            message = "`max_tokens`: must be at least 1, unless `echo` asks for the prompt."
            raise RequestRefused(400, message, "max_tokens", code="invalid_value")
        prompts: list[Any] = [self.prompt]
        if isinstance(self.prompt, list) and self.prompt and not isinstance(self.prompt[0], int):
            prompts = self.prompt
        settings = self.settings()
        requests = []
        for prompt in prompts:
            if prompt == []:
                raise RequestRefused(400, "`prompt`: holds nothing to continue.", "prompt", code="invalid_value")
            if isinstance(prompt, str):
                requests.append(GenerationRequest(None, prompt, settings))
            else:
                requests.append(GenerationRequest(None, "", settings, tuple(prompt)))
        return requests

    @property
    def told_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def wants_echo(self) -> bool:
        return self.echo


def _check_inputs(value: Any) -> Any:
    if isinstance(value, list) and not value:
        raise ValueError("holds nothing to embed")
    if isinstance(value, list) and not isinstance(value[0], int) and len(value) > MAX_INPUTS:
        raise ValueError(f"may hold {MAX_INPUTS:,} texts, and holds {len(value):,}")
    return value


class EmbeddingRequest(OpenModel):
    """Texts to embed, or their tokens as the model reads them (those of /tokenize)."""

    model: str
    input: Annotated[str | list[str] | list[int] | list[list[int]], AfterValidator(_check_inputs)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int | None, Field(ge=1)] = None

    def inputs(self) -> list[TextInput]:
        """Return each text of the request."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [tuple(self.input)]
        return [given if isinstance(given, str) else tuple(given) for given in self.input]
