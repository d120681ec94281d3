"""What the web needs of a model: how a reply is asked for, what comes back, and the ways in which it is refused.

Two engines keep to it: `batched` (a model of this process) and `upstream` (another OpenAI-compatible server). Nothing here runs one.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from privllm.feedback.records import Message, Model


@dataclass(frozen=True)
class Settings:
    """How a reply is drawn, and where it ends."""

    max_tokens: int = 200  # >= 1
    temperature: float = 0.8  # 0 = always the likeliest token
    top_p: float = 0.95  # only the likeliest tokens that together reach this probability, (0, 1]
    seed: int = 0  # the same seed and words give the same reply
    stop: tuple[str, ...] = ()  # texts before which the reply ends


@dataclass(frozen=True)
class Ask:
    """Messages to answer, or a text to continue."""

    messages: tuple[Message, ...] | None
    text: str
    settings: Settings


@dataclass(frozen=True)
class Text:
    """The next piece of a reply: whole characters."""

    text: str


@dataclass(frozen=True)
class Done:
    """The last event of a reply. Token counts are None where another server would not say them."""

    reason: str  # "stop": the model ended it, or a stop text did; "length": max_tokens did
    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True)
class Served:
    """What is known of the model behind an engine. None: another server would not say."""

    model: Model
    tuned: bool | None  # does it answer messages, or continue text
    context: int | None  # tokens it sees at once


class Refused(Exception):
    """No reply will come: an HTTP status, what to tell, the parameter at fault, and when to come back."""

    def __init__(self, status: int, message: str, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.retry_after = status, message, param, retry_after


class Engine(Protocol):
    """Both methods raise Refused. Closing the iterator stops the generation."""

    served: Served

    async def start(self) -> None: ...

    async def size(self, ask: Ask) -> int:
        """Tokens of the prompt, at least roughly; refuses what cannot be answered."""
        ...

    def stream(self, ask: Ask) -> AsyncIterator[Text | Done]: ...

    async def close(self) -> None: ...
