"""Incremental detokenization: whole characters, no control characters, no stop texts.

Each step decodes the new tokens together with the ones before them, because a tokenizer may write a
space only between words. It does not know the model.
"""

from collections.abc import Callable, Sequence

from privllm.core.printable import without_controls

Decode = Callable[[Sequence[int]], str]
REPLACEMENT = "\ufffd"  # what the bytes of an incomplete character decode to


class Detokenizer:
    """Text of one reply, token by token. `stopped` is set once a stop text has come."""

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._context_ids: list[int] = []  # already emitted; decoded again for the sake of spaces
        self._pending_ids: list[int] = []  # may end within a character
        self._held_text = ""  # may be the beginning of a stop text
        self.stopped = False

    def add(self, token: int) -> str:
        """Add a token and return the text that became final; "" while a character is incomplete."""
        self._pending_ids.append(token)
        decoded = self._decode([*self._context_ids, *self._pending_ids])
        if decoded.endswith(REPLACEMENT):
            return ""
        return self._emit(decoded)

    def flush(self) -> str:
        """Return what was held back, at the end of a reply.

        An incomplete character becomes U+FFFD; the beginning of a stop text that did not come is
        ordinary text.
        """
        text = ""
        if self._pending_ids:
            text = self._emit(self._decode([*self._context_ids, *self._pending_ids]))
        held_text, self._held_text = self._held_text, ""
        return text if self.stopped else text + held_text

    def _emit(self, decoded: str) -> str:
        emitted_length = len(self._decode(self._context_ids)) if self._context_ids else 0
        self._context_ids, self._pending_ids = self._pending_ids, []
        return self._cut_at_stop(without_controls(decoded[emitted_length:]))

    def _cut_at_stop(self, new_text: str) -> str:
        if not self._stop:
            return new_text
        text = self._held_text + new_text
        positions = [text.find(stop) for stop in self._stop]
        stop_positions = [position for position in positions if position >= 0]
        if stop_positions:
            self.stopped, self._held_text = True, ""
            return text[: min(stop_positions)]
        final_length = len(text) - max(_overlap(text, stop) for stop in self._stop)
        self._held_text = text[final_length:]
        return text[:final_length]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a proper beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    for length in range(longest, 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
