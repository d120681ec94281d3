"""The engine elsewhere: any OpenAI-compatible server that was named on the command line (vLLM, llama.cpp, another privllm).

Requests are built anew from what was checked here, so nothing else passes through; redirects and proxies are not followed, and no
other address is ever called. Its key, where it wants one, is read from PRIVLLM_ENGINE_KEY. It starts and stops no server.
"""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import httpx

from privllm.core.errors import UserError
from privllm.feedback.records import Model
from privllm.serve.engine.base import Ask, Done, Refused, Served, Text

KEY = "PRIVLLM_ENGINE_KEY"
TIMEOUT = httpx.Timeout(10.0, read=300.0)  # seconds; a first token may take its time
ERROR_BYTES = 20_000
BYTES_PER_TOKEN = 4  # a guess, for limits only
USUAL_WAIT, LONGEST_WAIT = 2.0, 3600.0  # seconds after which a caller may come back, where the other server says nothing, or anything
CALLERS_FAULT = (400, 404, 413, 422)  # what a caller can mend, so what was said of it is passed on


class Upstream:
    """The first model that the server at `url` (".../v1") names, or the one called `model`."""

    def __init__(self, url: str, model: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--engine takes the address of an OpenAI-compatible server, such as http://127.0.0.1:8080/v1, not `{url}`.")
        base = url.rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        headers = {"authorization": f"Bearer {os.environ[KEY]}"} if os.environ.get(KEY) else {}
        self._client = httpx.AsyncClient(base_url=base, headers=headers, timeout=TIMEOUT, trust_env=False, follow_redirects=False)
        try:
            answer = httpx.get(f"{base}/models", headers=headers, timeout=10, trust_env=False, follow_redirects=False)
            listed = {entry["id"]: entry for entry in answer.raise_for_status().json()["data"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{base}/models does not answer as an OpenAI-compatible server does: {error}. Is it running?") from error
        self._name = model or next(iter(listed), "")
        if self._name not in listed:
            raise UserError(f"{base} serves no model{f' `{model}`' if model else ''}: it has {', '.join(listed) or 'none'}.")
        known = listed[self._name].get("privllm") or {}
        self.served = Served(Model(self._name, "", known.get("digest", "")), known.get("tuned"), known.get("context"))

    async def start(self) -> None:
        """It runs already."""

    async def close(self) -> None:
        await self._client.aclose()

    async def size(self, ask: Ask) -> int:
        texts = [ask.text] if ask.messages is None else [message.content for message in ask.messages]
        return sum(len(text.encode("utf-8", "replace")) for text in texts) // BYTES_PER_TOKEN + 1

    async def stream(self, ask: Ask) -> AsyncIterator[Text | Done]:
        cfg = asdict(ask.settings)
        body = {"model": self._name, "stream": True, "stream_options": {"include_usage": True}, **cfg, "stop": list(cfg["stop"])}
        if not body["stop"]:
            del body["stop"]
        if ask.messages is None:
            path, body = "/completions", body | {"prompt": ask.text}
        else:
            path, body = "/chat/completions", body | {"messages": [asdict(message) for message in ask.messages]}
        try:
            async with self._client.stream("POST", path, json=body) as answer:
                if answer.status_code != 200:
                    raise await _refused(answer)
                async for event in _events(answer):
                    yield event
        except httpx.HTTPError as error:
            raise Refused(502, f"the server behind this one failed ({type(error).__name__}).") from error


async def _events(answer: httpx.Response) -> AsyncIterator[Text | Done]:
    """Texts, then one Done, of server-sent events."""
    reason: str = "stop"
    usage: dict[str, Any] = {}
    async for line in answer.aiter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or not data:
            continue
        if data == "[DONE]":
            yield Done(reason, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
            return
        try:
            chunk: dict[str, Any] = json.loads(data)
            if "error" in chunk:
                raise Refused(502, "the server behind this one broke off; its log may say why.")
            usage = chunk.get("usage") or usage
            choice = (chunk.get("choices") or [{}])[0]
            text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            if not (isinstance(text, str) and isinstance(usage, dict)):
                raise TypeError("a text or the usage is of another type")
        except (ValueError, AttributeError, TypeError) as error:
            raise Refused(502, "the server behind this one sent something else than OpenAI's stream.") from error
        reason = choice.get("finish_reason") or reason
        if text:
            yield Text(text)
    raise Refused(502, "the reply broke off.")


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and value >= 0 else None


async def _refused(answer: httpx.Response) -> Refused:
    """What it said, where the caller can mend it; otherwise 502, and nothing of what it said: that may name files, or a part of our key."""
    said = b""
    async for part in answer.aiter_bytes():
        said += part
        if len(said) > ERROR_BYTES:
            break
    if answer.status_code == 429:
        wait = answer.headers.get("retry-after", "")
        seconds = min(float(wait), LONGEST_WAIT) if wait.isdecimal() else USUAL_WAIT
        return Refused(429, "the server behind this one is too busy: try again shortly.", retry_after=seconds)
    unsaid = f"the server behind this one answered {answer.status_code}."
    if answer.status_code not in CALLERS_FAULT:
        return Refused(502, unsaid)
    try:
        error = json.loads(said)["error"]
        return Refused(answer.status_code, str(error["message"]), error.get("param"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(answer.status_code, unsaid)
