"""A GGUF file that is open: its values by key, its weights by name, and what is said where it contradicts itself."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGUFReader, ReaderTensor

from privllm.core.errors import UserError
from privllm.export.gguf_layout import EMBEDDING, MODEL_TYPES


class Opened(NamedTuple):
    """What a GGUF file says."""

    values: dict[str, Any]  # by key
    weights: dict[str, ReaderTensor]
    architecture: str
    where: str

    def value(self, key: str) -> Any:
        """Return a value of the architecture. Raises UserError where the file lacks it."""
        whole = f"{self.architecture}.{key}"
        if whole not in self.values:
            raise UserError(f"{self.where} does not say {whole}: it is no whole model.")
        return self.values[whole]

    def value_or(self, key: str, otherwise: Any) -> Any:
        """Return a value of the architecture, or another one where the file does not say it."""
        return self.values.get(f"{self.architecture}.{key}", otherwise)

    def count(self, key: str, otherwise: int | None = None) -> int:
        """Return a whole number of the architecture. Raises UserError where it differs from block to block."""
        value = self.value(key) if otherwise is None else self.value_or(key, otherwise)
        if isinstance(value, list):
            raise UserError(f"{self.where} has a {key} for each block, which is not read here.")
        return int(value)


def open_gguf(path: Path) -> Opened:
    """Read all but the weights. Raises UserError for a file that is no GGUF, or is cut off, or of another architecture."""
    try:
        reader = GGUFReader(path)
        values = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path} cannot be read as GGUF ({error}): it is damaged, not whole, or another file."
        ) from error
    if values.get("split.count", 1) > 1:
        raise UserError(f"{path} is one of {values['split.count']} parts: join them with `llama-gguf-split --merge`.")
    architecture = values.get("general.architecture", "(none)")
    if architecture not in MODEL_TYPES:
        known = ", ".join(sorted(MODEL_TYPES))
        raise UserError(
            f"{path} holds a model of the architecture `{architecture}`, which the build cannot train: {known}."
        )
    opened = Opened(values, {tensor.name: tensor for tensor in reader.tensors}, architecture, str(path))
    if EMBEDDING not in opened.weights:
        raise UserError(f"{path} has no {EMBEDDING}: it holds no weights of a model.")
    return opened


@contextmanager
def consistent(path: Path) -> Iterator[None]:
    """Raise UserError for numbers of the file that do not fit together."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        raise UserError(
            f"{path} contradicts itself ({error!r}): it is damaged, or made by a program that is broken."
        ) from error


def positive(value: Any, what: str) -> float:
    """Return a number that must be above zero and finite. Raises ValueError for another."""
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{what} is {number}")
    return as_written(number)


def as_written(number: Any) -> float:
    """Return the shortest number that is this one in fp32, as people wrote it: 1e-06, not 9.999999974752427e-07."""
    return float(str(np.float32(number)))
