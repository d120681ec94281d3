"""An engine that says what it is told, for tests of the web around it. Run as a program it serves an arena of two."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from privllm.feedback.records import Model
from privllm.serve.engine.base import Done, GenerationRequest, SamplingSettings, ServedModel, Text


def completion(text: str, *settings: Any, **more_settings: Any) -> GenerationRequest:
    """Return a request to continue `text`."""
    return GenerationRequest(None, text, SamplingSettings(*settings, **more_settings))


class Parrot:
    """Says `says`, word by word."""

    def __init__(self, name: str, revision: str, says: str, pause: float = 0.0) -> None:
        self.served = ServedModel(Model(name, revision, f"digest-of-{name}"), False, 1000)
        self.says, self.pause, self.closed, self.ended = says, pause, False, False

    async def start(self) -> None: ...

    def end_replies(self) -> None:
        self.ended = True

    async def close(self) -> None:
        self.closed = True

    async def healthy(self) -> bool:
        return not self.closed

    async def encode(self, ask: GenerationRequest) -> list[int]:
        return [1, 2, 3]

    async def decode(self, ids: Sequence[int]) -> str:
        return self.says

    async def count_tokens(self, ask: GenerationRequest) -> int:
        return 3

    async def stream(self, ask: GenerationRequest) -> AsyncIterator[Text | Done]:
        for word in self.says.split(" "):
            await asyncio.sleep(self.pause)
            yield Text(f"{word} ")
        yield Done("stop", 3, 5)


class Failing(Parrot):
    """Says the first `after` words, then raises `error`; with `after` below 0 it does not even count the prompt."""

    def __init__(self, error: Exception, after: int = 0) -> None:
        super().__init__("m", "", "one two three")
        self.error, self.after = error, after

    async def count_tokens(self, ask: GenerationRequest) -> int:
        if self.after < 0:
            raise self.error
        return 3

    async def stream(self, ask: GenerationRequest) -> AsyncIterator[Text | Done]:
        for word in self.says.split(" ")[: self.after]:
            yield Text(f"{word} ")
        raise self.error


class Silent(Parrot):
    """Never says anything."""

    async def stream(self, ask: GenerationRequest) -> AsyncIterator[Text | Done]:
        await asyncio.Event().wait()
        yield Text("")


if __name__ == "__main__":
    from privllm.serve.app import arena_app, listen
    from privllm.serve.database import Database

    parrots = [Parrot("old-model", "a" * 40, "one two"), Parrot("new-model", "b" * 40, "three four")]
    listen(arena_app(parrots, Database(Path(sys.argv[1]))), "127.0.0.1", 0, lambda url: print(url, flush=True))
