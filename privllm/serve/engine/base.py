"""The interface of engines: requests for replies, the events that come back, and refusals.

Three engines implement it: `local` (a model in this process), `remote` (another OpenAI-compatible
server) and `embedding`, which writes no replies and is an `Embedder`. No model runs here.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from privllm.feedback.records import Message, Model

if TYPE_CHECKING:
    import numpy as np

TextInput = str | tuple[int, ...]  # a text to embed, or its tokens as the model reads them

# What models raise that do not take the masks, positions or caches of a batch.
CANNOT_BATCH = (TypeError, ValueError, RuntimeError, AttributeError)


@dataclass(frozen=True)
class SamplingSettings:
    """Sampling parameters of a reply, and the conditions that end it."""

    max_tokens: int = 200  # >= 1; 0 where only an echo is wanted
    temperature: float = 0.8  # 0 = always the likeliest token
    top_p: float = 0.95  # only the likeliest tokens that together reach this probability, (0, 1]
    seed: int = 0  # the same seed and the same prompt give the same reply
    stop: tuple[str, ...] = ()  # the reply ends before any of these texts
    top_k: int = 0  # only the k likeliest tokens; 0 = all
    min_p: float = 0.0  # only tokens with at least this share of the likeliest one's probability, [0, 1]
    repetition_penalty: float = 1.0  # divides the logits of tokens in the prompt and the reply; 1 = none
    presence_penalty: float = 0.0  # taken from the logits of tokens in the reply, [-2, 2]
    frequency_penalty: float = 0.0  # likewise, times their number, [-2, 2]
    json_schema: str = ""  # the reply is JSON of this schema; "" = any text
    logprobs: int | None = None  # so many of the likeliest tokens are told with each token; None: nothing is told

    @property
    def has_penalties(self) -> bool:
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1, 0, 0)


@dataclass(frozen=True)
class GenerationRequest:
    """Messages to answer, or a text to continue."""

    messages: tuple[Message, ...] | None  # None: continue `text`
    text: str
    settings: SamplingSettings
    ids: tuple[int, ...] | None = None  # the tokens of a text to continue, where the client encoded it
    echo: bool = False  # the text to continue comes before the reply
    begun: str = ""  # what the reply to the messages begins with: it is written on, and not repeated


@dataclass(frozen=True)
class TokenLogprob:
    """A token as text, its log-probability, and the likeliest tokens in its place."""

    text: str
    logprob: float | None  # None: of a text's first token
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Text:
    """The next piece of a reply, in whole characters."""

    text: str
    tokens: tuple[TokenLogprob, ...] = ()  # those that were added since the last piece, if they are to be told
    reasoning: str = ""  # what the model of a remote server thinks before it speaks
    left_out: int = 0  # as `Done` says it, so that a reply that is stopped has it too


@dataclass(frozen=True)
class Done:
    """The last event of a reply. Token counts are None if a remote server does not report them."""

    reason: str  # "stop": the model ended the reply, or a stop text did; "length": max_tokens or the context did
    prompt_tokens: int | None
    completion_tokens: int | None
    left_out: int = 0  # messages, the oldest, that the model was not given for lack of room


@dataclass(frozen=True)
class ServedModel:
    """Description of an engine's model. None: a remote server does not report it."""

    model: Model
    tuned: bool | None  # True: it answers messages; False: it continues text
    context: int | None  # tokens the model can attend to at once
    dimensions: int | None = None  # numbers of an embedding; None: the model gives none


class RequestRefused(Exception):
    """A request that gets no reply: HTTP status, message, parameter, seconds until a retry, OpenAI's code."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        retry_after: float | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.code = code


def server_stops() -> RequestRefused:
    """Return what clients are told whose replies end with the server."""
    return RequestRefused(503, "this server is stopping, so the reply ends here.")


class Engine(Protocol):
    """A model that streams replies. Whatever takes a request or tokens raises RequestRefused.

    Closing the iterator that `stream` returns cancels the generation.
    """

    served: ServedModel

    async def start(self) -> None: ...

    async def healthy(self) -> bool:
        """Return whether replies can be generated."""
        ...

    async def encode(self, request: GenerationRequest) -> list[int]:
        """Return the tokens of the whole prompt."""
        ...

    async def decode(self, ids: Sequence[int]) -> str: ...

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Return the number of tokens of the prompt, at least roughly."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncIterator[Text | Done]: ...

    def end_replies(self) -> None:
        """Refuse all replies from now on, those that are being written included: the server stops."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Embedder(Protocol):
    """An engine that gives embeddings of texts."""

    async def encode_inputs(self, inputs: Sequence[TextInput]) -> list[list[int]]:
        """Return the tokens of each text. Raises RequestRefused for one that the model cannot read."""
        ...

    async def embed(self, texts: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return the vectors of texts that are tokens: fp32, one row a text."""
        ...
