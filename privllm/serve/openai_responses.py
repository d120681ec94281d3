"""OpenAI's wire format of what the server says: responses, stream chunks, model cards and errors.

What OpenAI's format has no field for stands under `privllm`. Nothing is generated here.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from privllm.feedback.records import Message
from privllm.serve.engine.base import Done, RequestRefused, ServedModel, Text, TokenLogprob
from privllm.serve.engine.turns import without_oldest
from privllm.serve.openai_requests import MAX_INPUTS
from privllm.serve.signatures import ReplySignature, Signer

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


@dataclass
class Reply:
    """What has come of one choice."""

    text: str = ""
    reasoning: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list)
    done: Done | None = None

    def add(self, event: Text | Done) -> None:
        if isinstance(event, Done):
            self.done = event
        else:
            self.text += event.text
            self.reasoning += event.reasoning
            self.tokens += event.tokens


class ReplySigner:
    """Signatures of the choices of one request.

    begun: what each reply begins with, which was verified; the signatures are of that too.
    """

    def __init__(self, signer: Signer, messages: tuple[Message, ...], begun: str = "") -> None:
        self._signer = signer
        self._messages = messages
        self._begun = begun
        self._signatures: dict[int, ReplySignature] = {}  # by choice

    def sign(self, identifier: str, index: int, text: str, left_out: int) -> str:
        """Add the next piece of choice `index`; return the signature of all of it so far."""
        if index not in self._signatures:
            given = without_oldest(self._messages, left_out)
            self._signatures[index] = self._signer.begin(identifier, given)
            self._signatures[index].add(self._begun)
        return self._signatures[index].add(text)


class ResponseWriter:
    """Builder of one response, or of its stream chunks.

    n: choices of each prompt. signer: None, unless the client asked for signatures. identifier: of a reply that
    is written on.
    """

    def __init__(
        self, served: ServedModel, chat: bool, n: int = 1, signer: ReplySigner | None = None, identifier: str = ""
    ) -> None:
        prefix = "chatcmpl" if chat else "cmpl"
        self.id = identifier or f"{prefix}-{token_hex(16)}"
        self.chat = chat
        self._n = n
        self._signer = signer
        self._object = "chat.completion" if chat else "text_completion"
        self._chunk_object = "chat.completion.chunk" if chat else "text_completion"
        self._offsets: dict[int, int] = {}  # characters of each choice whose tokens were told
        self._common = {
            "id": self.id,
            "created": int(time.time()),
            "model": served.model.name,
            "system_fingerprint": served.model.digest or None,
        }

    def response(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """Return the response of a request that is not streamed, of replies that are done."""
        choices = []
        for index, reply in enumerate(replies):
            content: dict[str, Any] = {"text": reply.text}
            if self.chat:
                content = {"message": {"role": "assistant", "content": reply.text, "refusal": None}}
                if reply.reasoning:
                    content["message"]["reasoning_content"] = reply.reasoning
            reason = reply.done.reason if reply.done else None
            content |= self._signed(index, reply.text, reply.done)
            choices.append(self._choice(index, content, reply.tokens, reason))
        body = self._common | {"object": self._object, "choices": choices, "usage": self._usage(replies)}
        return body | _extension(replies[0].done)

    def first_chunks(self, count: int) -> list[dict[str, Any]]:
        """Return the first chunk of each choice of a chat, which names the role; none for other requests."""
        if not self.chat:
            return []
        delta = {"delta": {"role": "assistant", "content": ""}}
        return [self._chunk(index, delta, (), None) for index in range(count)]

    def chunk(self, index: int, event: Text | Done) -> dict[str, Any]:
        """Return the chunk of an event of choice `index`."""
        if isinstance(event, Done):
            content: dict[str, Any] = {"delta": {}} if self.chat else {"text": ""}
            content |= self._signed(index, "", event)
            return self._chunk(index, content, (), event.reason) | _extension(event)
        content = {"text": event.text}
        if self.chat:
            content = {"delta": {"content": event.text}}
            if event.reasoning:
                content["delta"]["reasoning_content"] = event.reasoning
        content |= self._signed(index, event.text, event)
        return self._chunk(index, content, event.tokens, None) | _extension(event)

    def _signed(self, index: int, text: str, event: Text | Done | None) -> dict[str, Any]:
        """Return the signature of a choice, as far as it has come with `text`."""
        if self._signer is None or event is None:
            return {}
        return {"privllm": {"signature": self._signer.sign(self.id, index, text, event.left_out)}}

    def usage_chunk(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """Return the chunk that `stream_options.include_usage` requests."""
        return self._common | {"object": self._chunk_object, "choices": [], "usage": self._usage(replies)}

    def _chunk(
        self, index: int, content: dict[str, Any], tokens: Sequence[TokenLogprob], reason: str | None
    ) -> dict[str, Any]:
        choice = self._choice(index, content, tokens, reason)
        return self._common | {"object": self._chunk_object, "choices": [choice]}

    def _choice(
        self, index: int, content: dict[str, Any], tokens: Sequence[TokenLogprob], reason: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(index, tokens) if tokens else None
        return {"index": index, "logprobs": logprobs, "finish_reason": reason} | content

    def _logprobs(self, index: int, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        if self.chat:
            content = [_told(token.text, token.logprob) for token in tokens]
            for entry, token in zip(content, tokens, strict=True):
                entry["top_logprobs"] = [_told(text, logprob) for text, logprob in token.top]
            return {"content": content, "refusal": None}
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [dict(token.top) if token.logprob is not None else None for token in tokens],
            "text_offset": offsets,
        }

    def _usage(self, replies: Sequence[Reply]) -> dict[str, int] | None:
        """Return the sums of all choices; a prompt counts once, however many choices it has."""
        dones = [reply.done or Done("", None, None) for reply in replies]
        read = [done.prompt_tokens for done in dones[:: self._n]]
        written = [done.completion_tokens for done in dones]
        if None in read or None in written:
            return None
        prompt_tokens, completion_tokens = sum(map(int, read)), sum(map(int, written))  # type: ignore[arg-type]
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }


def _told(text: str, logprob: float | None) -> dict[str, Any]:
    """Return an entry of a chat's log-probabilities; vLLM too writes the least that JSON should hold as -9999."""
    return {"token": text, "logprob": max(logprob or 0.0, -9999.0), "bytes": list(text.encode())}


def _extension(event: Text | Done | None) -> dict[str, Any]:
    """Return how many messages the model did not see, where there are any."""
    return {"privllm": {"left_out": event.left_out}} if event and event.left_out else {}


def model_card(served: ServedModel) -> dict[str, Any]:
    """Return an entry of /v1/models; `privllm` holds what OpenAI's format has no field for."""
    extension: dict[str, Any] = {
        "tuned": served.tuned,
        "context": served.context,
        "digest": served.model.digest,
        "note": UNTUNED_NOTE if served.tuned is False else "",
    }
    if served.dimensions:
        extension |= {"dimensions": served.dimensions, "max_inputs": MAX_INPUTS}
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
