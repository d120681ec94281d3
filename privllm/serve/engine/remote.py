"""The engine on another OpenAI-compatible server (vLLM, llama.cpp, another privllm).

Requests are built from validated fields only, so nothing else is passed on. Redirects and proxies
are not followed, and no other address is ever called. The API key, where the server needs one, is
read from PRIVLLM_ENGINE_KEY. It starts and stops no server.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from privllm.core.errors import UserError
from privllm.feedback.records import Model
from privllm.serve.engine.base import (
    Done,
    GenerationRequest,
    RequestRefused,
    SamplingSettings,
    ServedModel,
    Text,
    TokenLogprob,
    server_stops,
)
from privllm.serve.engine.turns import messages_from, starts_of

DEFAULTS = SamplingSettings()
OPTIONAL = ("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
TOO_LONG = "context_length_exceeded"
TOO_LONG_WORDS = re.compile("context (length|size)")  # vLLM's and llama.cpp's, which send no such code
KEY = "PRIVLLM_ENGINE_KEY"
TIMEOUT = httpx.Timeout(10.0, read=300.0)  # seconds; a first token may take its time
HEALTH_SECONDS = 2.0
NOT_OUR_TOKENS = "this server has no tokenizer: ask the one behind it, whose model it is."
ERROR_BYTES = 20_000  # of an error's body that are read, at least
LINE_BYTES = 10_000_000  # of a line that is read
BYTES_PER_TOKEN = 4  # an estimate, for rate limits only
DEFAULT_RETRY_AFTER, MAX_RETRY_AFTER = 2.0, 3600.0  # seconds
CLIENT_ERRORS = (400, 404, 413, 422)  # errors that the client can fix, so their message is passed on


class RemoteEngine:
    """The first model that the server at `url` (".../v1") lists, or the one named `model`."""

    def __init__(self, url: str, model: str = "") -> None:
        base = _base_url(url)
        key = os.environ.get(KEY)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=TIMEOUT,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None),  # how many replies there may be is for that server to say
        )
        self._ending: asyncio.Task[None] | None = None  # the client's end, with which all replies end
        models = _list_models(base, headers)
        self._name = model or next(iter(models), "")
        if self._name not in models:
            name = f" `{model}`" if model else ""
            raise UserError(f"{base} serves no model{name}: it has {', '.join(models) or 'none'}.")
        extension = models[self._name].get("privllm") or {}  # what another privllm adds to OpenAI's format
        digest = extension.get("digest", "")
        self.served = ServedModel(Model(self._name, "", digest), extension.get("tuned"), extension.get("context"))

    async def start(self) -> None:
        """Do nothing: the server runs already."""

    def end_replies(self) -> None:
        self._ending = asyncio.get_running_loop().create_task(self._client.aclose())  # who still reads gets an error

    async def close(self) -> None:
        await self._client.aclose()

    async def healthy(self) -> bool:
        try:
            response = await self._client.get("/models", timeout=HEALTH_SECONDS)
        except httpx.HTTPError:
            return False
        return response.status_code == 200

    async def encode(self, request: GenerationRequest) -> list[int]:
        raise RequestRefused(501, NOT_OUR_TOKENS)

    async def decode(self, ids: Sequence[int]) -> str:
        raise RequestRefused(501, NOT_OUR_TOKENS)

    async def count_tokens(self, request: GenerationRequest) -> int:
        if request.ids is not None:
            return len(request.ids)
        texts = [request.text]
        if request.messages is not None:
            texts = [message.content for message in request.messages]
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        return size // BYTES_PER_TOKEN + 1

    async def stream(self, request: GenerationRequest) -> AsyncIterator[Text | Done]:
        """Yield the events of the reply. Where the conversation is too long for the server, turns leave.

        Half of those that remain leave each time, the oldest first: only that server could count them.
        """
        starts = [0] if request.messages is None else starts_of(request.messages)
        while True:
            messages = request.messages and messages_from(request.messages, starts[0])
            left_out = len(request.messages or ()) - len(messages or ())
            try:
                async with aclosing(self._stream(replace(request, messages=messages))) as events:  # type: ignore[type-var]
                    async for event in events:
                        yield replace(event, left_out=event.left_out + left_out)
                return
            except RequestRefused as error:
                if error.code != TOO_LONG or len(starts) == 1:
                    raise
                starts = starts[len(starts) // 2 :]

    async def _stream(self, request: GenerationRequest) -> AsyncIterator[Text | Done]:
        path, body = self._call_of(request)
        try:
            async with self._client.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    raise await _refusal(response)
                async for event in _events(response):
                    yield event
        except httpx.HTTPError as error:
            if self._ending:
                raise server_stops() from error
            raise RequestRefused(502, f"the server behind this one failed ({type(error).__name__}).") from error

    def _call_of(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of the call that `request` becomes."""
        settings, chat = request.settings, request.messages is not None
        body: dict[str, Any] = {"model": self._name, "stream": True, "stream_options": {"include_usage": True}}
        body |= {name: getattr(settings, name) for name in ("max_tokens", "temperature", "top_p", "seed")}
        for name in OPTIONAL:  # not every server knows them
            if getattr(settings, name) != getattr(DEFAULTS, name):
                body[name] = getattr(settings, name)
        if settings.stop:
            body["stop"] = list(settings.stop)
        if settings.json_schema:
            named = {"name": "reply", "schema": json.loads(settings.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        if settings.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": settings.logprobs} if chat else {"logprobs": settings.logprobs}
        if request.messages is not None:
            messages = [asdict(message) for message in request.messages]
            if request.begun:  # vLLM's fields; llama.cpp writes on a last message of the assistant's by itself
                messages.append({"role": "assistant", "content": request.begun})
                body |= {"continue_final_message": True, "add_generation_prompt": False}
            return "/chat/completions", body | {"messages": messages}
        if request.echo:
            body["echo"] = True
        return "/completions", body | {"prompt": request.text if request.ids is None else list(request.ids)}


def _base_url(url: str) -> str:
    """Return `url`, with /v1 where it has no path. Raises UserError unless it is a URL of HTTP."""
    parsed = urlsplit(url)
    if parsed.scheme not in ("http", "https") or not parsed.hostname:
        raise UserError(
            f"--engine takes the address of an OpenAI-compatible server, such as http://127.0.0.1:8080/v1, not `{url}`."
        )
    suffix = "" if parsed.path.strip("/") else "/v1"
    return url.rstrip("/") + suffix


def _list_models(base: str, headers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return {name: entry} of the server's /models. Raises UserError for an unexpected answer."""
    try:
        response = httpx.get(
            f"{base}/models",
            headers=headers,
            timeout=10,
            trust_env=False,
            follow_redirects=False,
        )
        entries = response.raise_for_status().json()["data"]
        return {entry["id"]: entry for entry in entries}
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{base}/models does not answer as an OpenAI-compatible server does: {error}. Is it running?"
        ) from error


async def _events(response: httpx.Response) -> AsyncIterator[Text | Done]:
    """Yield Text events, then one Done, from the server-sent events of `response`."""
    reason, left_out = "", 0
    usage: dict[str, Any] = {}
    async for line in _lines(response):
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not data:
            continue
        if data == "[DONE]":
            reason = reason or "stop"
            break
        try:
            chunk = _read_chunk(data)
        except (ValueError, AttributeError, TypeError, LookupError) as error:
            message = "the server behind this one did not answer in OpenAI's streaming format."
            raise RequestRefused(502, message) from error
        usage = chunk.usage or usage
        reason = chunk.finish_reason or reason
        left_out = chunk.left_out or left_out
        if chunk.text or chunk.reasoning or chunk.tokens:
            yield Text(chunk.text, chunk.tokens, chunk.reasoning, left_out)
    if not reason:
        raise RequestRefused(502, "the reply broke off.")
    read, written = _token_count(usage, "prompt_tokens"), _token_count(usage, "completion_tokens")
    yield Done(reason, read, written, left_out)


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Yield the lines of `response`, which end with line feeds.

    httpx would also end them at U+2028 and its like, which may stand within a text.
    """
    buffer = b""
    async for part in response.aiter_bytes():
        *lines, buffer = (buffer + part).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
        if len(buffer) > LINE_BYTES:
            raise RequestRefused(502, "the server behind this one sent a line that does not end.")
    yield buffer.decode("utf-8", "replace")


class _Chunk(NamedTuple):
    """The fields that we read of a chunk of OpenAI's stream."""

    text: str
    reasoning: str
    tokens: tuple[TokenLogprob, ...]
    finish_reason: str | None
    usage: dict[str, Any]
    left_out: int  # as another privllm says


def _read_chunk(data: str) -> _Chunk:
    """Parse one event. Raises RequestRefused for an error, other exceptions for other formats."""
    chunk: dict[str, Any] = json.loads(data)
    if chunk.get("error"):
        raise RequestRefused(502, "the server behind this one broke off; its log may say why.")
    usage = chunk.get("usage") or {}
    choice = (chunk.get("choices") or [{}])[0]
    delta = choice.get("delta") or {}
    text = choice.get("text") or delta.get("content") or ""
    reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""  # vLLM has had both names
    if not isinstance(text, str) or not isinstance(reasoning, str) or not isinstance(usage, dict):
        raise TypeError("a text or the usage is of another type")
    left_out = _token_count(chunk.get("privllm") or {}, "left_out")
    text, reasoning = whole_characters(text), whole_characters(reasoning)
    return _Chunk(text, reasoning, _read_logprobs(choice), choice.get("finish_reason"), usage, left_out or 0)


def _read_logprobs(choice: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    """Return the tokens of a chunk, whose form differs between chats and completions."""
    logprobs = choice.get("logprobs") or {}
    tokens = []
    for entry in logprobs.get("content") or ():
        others = entry.get("top_logprobs") or ()
        top = tuple((whole_characters(other["token"]), float(other["logprob"])) for other in others)
        tokens.append(TokenLogprob(whole_characters(entry["token"]), float(entry["logprob"]), top))
    texts = logprobs.get("tokens") or ()
    for text, logprob, top in zip(
        texts,
        logprobs.get("token_logprobs") or (),
        logprobs.get("top_logprobs") or [None] * len(texts),
        strict=True,
    ):
        likeliest = tuple((whole_characters(other), likelihood) for other, likelihood in (top or {}).items())
        tokens.append(TokenLogprob(whole_characters(text), logprob, likeliest))
    return tuple(tokens)


def whole_characters(text: str) -> str:
    """Return `text` with U+FFFD for each half of a character (a surrogate), which no UTF-8 can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _token_count(usage: dict[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return count if type(count) is int and count >= 0 else None


async def _refusal(response: httpx.Response) -> RequestRefused:
    """Return the error of `response` as ours.

    Errors that the client can fix keep their message. Any other is a 502 without it: it might name
    files, or repeat our key.
    """
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ERROR_BYTES:
            break
    if response.status_code == 429:
        message = "the server behind this one is too busy: try again shortly."
        return RequestRefused(429, message, retry_after=_retry_after(response))
    status_only = f"the server behind this one answered {response.status_code}."
    if response.status_code not in CLIENT_ERRORS:
        return RequestRefused(502, status_only)
    try:
        error = json.loads(body)["error"]
        message, param, code = str(error["message"]), error.get("param"), error.get("code")
        if TOO_LONG_WORDS.search(message):
            code = TOO_LONG
        return RequestRefused(response.status_code, message, param, code=code if isinstance(code, str) else None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return RequestRefused(response.status_code, status_only)


def _retry_after(response: httpx.Response) -> float:
    header = response.headers.get("retry-after", "")
    return min(float(header), MAX_RETRY_AFTER) if header.isdecimal() else DEFAULT_RETRY_AFTER
