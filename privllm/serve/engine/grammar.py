"""Replies that are JSON, of a schema: which tokens may come next, by llguidance.

The library (MIT) is of the extra `grammar`, and is imported only where a client asks for JSON. A
schema is the client's: what it does not take is refused with its own words, and one that takes much time
or memory is refused too. No model runs here.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from privllm.core.missing_library import installed, not_installed
from privllm.core.printable import printable
from privllm.serve.engine.base import RequestRefused

PARAM = "response_format"
LIBRARY = "llguidance"
# Of the library, below its defaults: at these the first word of the worst pattern takes a tenth of a second, a later one a hundredth.
LIMITS: dict[str, Any] = {"initial_lexer_fuel": 300_000, "step_lexer_fuel": 50_000, "max_lexer_states": 50_000}
# It has no limit on these: a state for each remainder, 1.2 s and 0.1 GiB at 250,000.
MAX_MULTIPLES = 20_000  # the sum of a schema's `multipleOf`
KEPT = 32  # compiled schemas
IN_WORDS = {  # by what the library says
    "NoExtensionBias": "it refers to itself without an end",
    "Expecting object schema to apply options": "no JSON fits it",
}


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
        self._compiled: OrderedDict[str, Any] = OrderedDict()  # by schema, the last one used at the end

    @cached_property
    def _tokenizer(self) -> Any:
        if not installed(LIBRARY):
            message = f"`{PARAM}`: {not_installed(LIBRARY)}"
            raise RequestRefused(400, message, PARAM, code="unsupported_parameter")
        from llguidance import LLTokenizer

        return LLTokenizer(self._tokenizer_json(), n_vocab=self._vocabulary, eos_token=sorted(self._end_ids))

    def start(self, schema: str) -> Grammar:
        """Return the grammar of a reply. Raises RequestRefused (400) for a schema that cannot be followed.

        It is for one thread, since a schema may take a second.
        """
        if schema not in self._compiled:
            self._compiled[schema] = self._compile(schema)
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(schema)
        return _Matcher(self._compiled[schema].deep_copy(), self._vocabulary)

    def _compile(self, schema: str) -> Any:
        tokenizer = self._tokenizer
        from llguidance import LLMatcher, LLParserLimits

        if _sum_of_multiples(json.loads(schema)) > MAX_MULTIPLES:
            raise _refusal(f"`multipleOf` may be {MAX_MULTIPLES:,} at most, all of them together")
        try:
            overrides: Any = {"whitespace_flexible": False}  # or a model may write spaces for ever
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=overrides)
        except ValueError as error:
            raise _refusal(str(error)) from None
        return LLMatcher(tokenizer, grammar, log_level=0, limits=LLParserLimits(**LIMITS))


def _sum_of_multiples(schema: Any) -> float:
    """Return the sum of all `multipleOf`, each without its decimal point, as the library counts with them."""
    if isinstance(schema, list):
        return sum(map(_sum_of_multiples, schema))
    if not isinstance(schema, dict):
        return 0
    multiple = schema.get("multipleOf")
    inside = sum(_sum_of_multiples(value) for value in schema.values())
    if not isinstance(multiple, int | float) or not math.isfinite(multiple):
        return inside
    digits = int("".join(map(str, Decimal(str(multiple)).as_tuple().digits)))
    return inside + max(digits, abs(multiple))


def _refusal(reason: str) -> RequestRefused:
    told = " ".join(reason.partition("<state>")[0].partition("<non-verbose/>")[0].split())
    said = IN_WORDS.get(told, printable(told)[:300])
    message = f"`{PARAM}`: this schema cannot be followed: {said}"
    return RequestRefused(400, message, PARAM, code="invalid_value")


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
