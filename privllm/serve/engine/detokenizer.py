"""Tokens to text as they come: whole characters, no control characters, and nothing of a stop text.

It decodes a little with the tokens before, since a tokenizer may write a space only between words. It knows no model.
"""

from collections.abc import Callable, Sequence

from privllm.core.printable import without_controls

Decode = Callable[[Sequence[int]], str]
CUT = "\ufffd"  # what the bytes of half a character decode to


class Spoken:
    """One reply. `add` and `rest` return what can be said now; `stopped` says that a stop text came."""

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, tuple(stop)
        self._before: list[int] = []
        self._waiting: list[int] = []
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        self._waiting.append(token)
        whole = self._decode([*self._before, *self._waiting])
        return "" if whole.endswith(CUT) else self._say(whole)

    def rest(self) -> str:
        """What was held back, at the end: half characters as U+FFFD, the beginning of a stop text that did not go on."""
        said = self._say(self._decode([*self._before, *self._waiting])) if self._waiting else ""
        held, self._held = self._held, ""
        return said if self.stopped else said + held

    def _say(self, whole: str) -> str:
        new = whole[len(self._decode(self._before)) :] if self._before else whole
        self._before, self._waiting = self._waiting, []
        return self._until_stop(without_controls(new))

    def _until_stop(self, new: str) -> str:
        if not self._stop:
            return new
        text = self._held + new
        ends = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        hold = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
