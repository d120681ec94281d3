"""Replies that are JSON, of a schema: which tokens may come next, by llguidance.

The library (MIT) is of the extra `grammar`, and is imported only where a client asks for JSON. A
schema is the client's: what it does not take is refused with its own words, and its limits on time
and memory hold. No model runs here.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from privllm.core.missing_library import installed, not_installed
from privllm.core.printable import printable
from privllm.serve.engine.base import RequestRefused

PARAM = "response_format"
LIBRARY = "llguidance"


class Grammar(Protocol):
    """The state of one reply."""

    def allowed(self) -> Tensor:
        """Return which tokens may come next: bool [V]."""
        ...

    def add(self, token: int) -> bool:
        """Take the reply's next token; return whether more may follow it.

        Raises RequestRefused (400) where nothing that follows can be told: an endless schema, or one beyond the limits.
        """
        ...


class Grammars:
    """Compiler of schemas to grammars over the tokens of one model."""

    def __init__(self, tokenizer_json: Callable[[], str], vocabulary: int, end_ids: frozenset[int]) -> None:
        self._tokenizer_json = tokenizer_json
        self._vocabulary = vocabulary
        self._end_ids = end_ids

    @cached_property
    def _tokenizer(self) -> Any:
        if not installed(LIBRARY):
            message = f"`{PARAM}`: {not_installed(LIBRARY)}"
            raise RequestRefused(400, message, PARAM, code="unsupported_parameter")
        from llguidance import LLTokenizer

        return LLTokenizer(self._tokenizer_json(), n_vocab=self._vocabulary, eos_token=sorted(self._end_ids))

    def start(self, schema: str) -> Grammar:
        """Return the grammar of a reply. Raises RequestRefused (400) for a schema that cannot be followed."""
        tokenizer = self._tokenizer
        from llguidance import LLMatcher

        try:
            overrides: Any = {"whitespace_flexible": False}  # or a model may write spaces for ever
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=overrides)
        except ValueError as error:
            raise _refusal(str(error)) from None
        return _Matcher(LLMatcher(tokenizer, grammar, log_level=0), self._vocabulary)


def _refusal(reason: str) -> RequestRefused:
    first_line = printable(reason.partition("\n")[0])[:300]
    return RequestRefused(400, f"`{PARAM}`: this schema cannot be followed: {first_line}", PARAM, code="invalid_value")


class _Matcher:
    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._bits = self._next_bits()

    def allowed(self) -> Tensor:
        shifts = torch.arange(8, dtype=torch.uint8)
        return ((self._bits[:, None] >> shifts) & 1).flatten()[: self._vocabulary].bool()

    def add(self, token: int) -> bool:
        self._matcher.consume_token(token)
        if self._matcher.is_stopped() and not self._matcher.is_error():
            return False
        self._bits = self._next_bits()
        return True

    def _next_bits(self) -> Tensor:
        """Return which tokens may come next, a bit each: what refers to itself without an end fails here."""
        if not self._matcher.is_error():
            bits = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise _refusal(self._matcher.get_error())
        return torch.frombuffer(bytearray(bits), dtype=torch.uint8)
