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
        """Take the reply's next token; return whether more may follow it."""
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
        matcher = LLMatcher(tokenizer, grammar, log_level=0)
        if not matcher.is_error():
            matcher.compute_bitmask()  # what refers to itself without an end fails at its first word
        if matcher.is_error():
            raise _refusal(matcher.get_error())
        return _Matcher(matcher, self._vocabulary)


def _refusal(reason: str) -> RequestRefused:
    first_line = printable(reason.partition("\n")[0])[:300]
    return RequestRefused(400, f"`{PARAM}`: this schema cannot be followed: {first_line}", PARAM, code="invalid_value")


class _Matcher:
    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> Tensor:
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        if self._matcher.is_error():  # its limits: the model is left to end the reply
            return torch.ones(self._vocabulary, dtype=torch.bool)
        shifts = torch.arange(8, dtype=torch.uint8)
        return ((bits[:, None] >> shifts) & 1).flatten()[: self._vocabulary].bool()

    def add(self, token: int) -> bool:
        self._matcher.consume_token(token)
        return not self._matcher.is_stopped()
