"""How much of a conversation a model is given: the oldest turns leave first, and the last question stays whole.

Turns leave as in training (`tokens.chat_format`): up to a question each time. Training then cuts the
last question; here it is refused, since nobody wants an answer to half a question. Room is kept for
the reply, which ends where the context does: a model that no longer saw the question would answer
something else. A text to continue is not cut, and its continuation may go on beyond the context.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from privllm.feedback.records import Message
from privllm.serve.engine.base import GenerationRequest, RequestRefused
from privllm.serve.engine.prompting import PromptFormat
from privllm.serve.engine.turns import messages_from, opening_of, starts_of, without_oldest

REPLY_SHARE = 4  # a quarter of the context is kept for the reply, or max_tokens where that is less


class Prompt(NamedTuple):
    """What a model reads, and how long its reply may be."""

    ids: list[int]
    messages: tuple[Message, ...]  # those that it reads; none where a text is continued
    left_out: int  # messages that it does not
    max_tokens: int


def fit(prompt_format: PromptFormat, request: GenerationRequest) -> Prompt:
    """Return the prompt of `request`. Raises RequestRefused (400) for a text or a last question that is too long."""
    context, max_tokens = prompt_format.context, request.settings.max_tokens
    messages = request.messages or ()
    ids = prompt_format.encode(request) if request.ids is None else list(request.ids)
    if not prompt_format.tuned or not messages:
        if len(ids) > context:
            raise _too_long(f"{len(ids)} tokens, and this model sees {context} at once", request)
        earlier = _all_but_the_last(messages)  # a model that continues text reads the last message alone
        return Prompt(ids, without_oldest(messages, earlier), earlier, max_tokens)

    reserved = min(max_tokens, context // REPLY_SHARE)
    room = context - reserved
    starts = starts_of(messages)

    def encode_from(start: int) -> list[int]:
        if start == 0:
            return ids
        return prompt_format.encode(replace(request, messages=messages_from(messages, start)))

    # a later start is never longer, so few of them need to be encoded
    first = bisect_left(starts, True, key=lambda start: len(encode_from(start)) <= room)
    if first == len(starts):
        size = len(encode_from(starts[-1]))
        limits = f"{context} at once, of which {reserved} are kept for the reply"
        alone = "its last message and the system's" if opening_of(messages) else "its last message alone"
        raise _too_long(f"{size} tokens in {alone}, and this model sees {limits}", request)
    start = starts[first]
    ids, kept = encode_from(start), messages_from(messages, start)
    return Prompt(ids, kept, len(messages) - len(kept), min(max_tokens, context - len(ids)))


def _all_but_the_last(messages: Sequence[Message]) -> int:
    """Return how many messages stand before the last, those of the system at the beginning apart."""
    return max(0, len(messages) - 1 - opening_of(messages))


def _too_long(measured: str, request: GenerationRequest) -> RequestRefused:
    param = "prompt" if request.messages is None else "messages"
    return RequestRefused(400, f"the prompt has {measured}: shorten it.", param, code="context_length_exceeded")
