"""KV cache of several sequences of different lengths, which are decoded together.

Row r holds one sequence from column 0 on; columns beyond its length are masked. Nothing is padded
or shifted when sequences join, grow and leave: the last row moves into the gap. The tensors grow as
needed and are dropped when no sequence remains. It is a `transformers` cache for steps of one
token; prompts are read with transformers' own cache and copied in.

Shapes: R rows, H key/value heads, S columns, D head width.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

COLUMNS = 64  # the number of columns is a multiple of this


class KvCacheLayer(CacheLayerMixin):
    """Keys and values of one attention layer; all layers share the lengths of `cache`."""

    is_sliding = False

    def __init__(self, cache: "KvCache") -> None:
        super().__init__()
        self.cache = cache
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise AssertionError("rows are added by KvCache.add")

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append [R, H, 1, D] to the rows; return all keys and values, [R, H, S, D]."""
        rows = len(self.cache.lengths)
        columns = self.cache.longest + 1
        assert key_states.shape[2] == 1, "one token a step"
        assert self.keys is not None
        assert self.values is not None
        row_R, end_R = self.cache.row_R, self.cache.end_R
        self.keys[row_R, :, end_R] = key_states[:, :, 0]
        self.values[row_R, :, end_R] = value_states[:, :, 0]
        return self.keys[:rows, :, :columns], self.values[:rows, :, :columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.longest + query_length, 0

    def get_seq_length(self) -> int:
        return self.cache.longest

    def get_max_length(self) -> int:
        return -1


class KvCache(Cache):
    """Cache with `lengths[r]` keys in row r. The model runs between `begin_step` and `end_step`."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(layers=[])
        self.layers: list[Any]
        self.device = device
        self.lengths: list[int] = []
        self.row_R = self.end_R = torch.empty(0, dtype=torch.long)

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    def add(self, prompt_cache: Any, source_row: int = 0, length: int | None = None) -> None:
        """Append a row: a sequence of `prompt_cache`, a cache of transformers; `length` keys of it, or all."""
        if length is None:
            length = prompt_cache.get_seq_length()
        row = len(self.lengths)
        if not self.layers:
            self.layers = [KvCacheLayer(self) for _ in prompt_cache.layers]
        self._reserve(prompt_cache, row + 1, max(self.longest, length) + 1)
        for layer, prompt_layer in zip(self.layers, prompt_cache.layers, strict=True):
            layer.keys[row, :, :length] = prompt_layer.keys[source_row, :, :length]
            layer.values[row, :, :length] = prompt_layer.values[source_row, :, :length]
        self.lengths.append(length)

    def remove(self, row: int) -> None:
        """Remove `row`; the last row takes its place."""
        length = self.lengths.pop()
        last = len(self.lengths)
        if row < last:
            for layer in self.layers:
                layer.keys[row, :, :length] = layer.keys[last, :, :length]
                layer.values[row, :, :length] = layer.values[last, :, :length]
            self.lengths[row] = length
        if not self.lengths:
            self.layers = []

    def begin_step(self) -> tuple[Tensor, Tensor]:
        """Return (positions [R, 1], keys [1, S]); row r attends to key k if k <= positions[r]."""
        self._reserve(self, len(self.lengths), self.longest + 1)
        self.row_R = torch.arange(len(self.lengths), device=self.device)
        self.end_R = torch.tensor(self.lengths, device=self.device)
        key_S = torch.arange(self.longest + 1, device=self.device)
        return self.end_R[:, None], key_S[None]

    def end_step(self) -> None:
        self.lengths = [length + 1 for length in self.lengths]

    def _reserve(self, like: Any, rows: int, columns: int) -> None:
        """Make room for `rows` and `columns`; heads, width and type are those of `like`."""
        for layer, like_layer in zip(self.layers, like.layers, strict=True):
            layer.keys = _grow(layer.keys, like_layer.keys, rows, columns)
            layer.values = _grow(layer.values, like_layer.values, rows, columns)


def _grow(tensor: Tensor | None, like: Tensor, rows: int, columns: int) -> Tensor:
    """Return `tensor`, or a larger copy where it lacks room for `rows` and `columns`.

    Rows are doubled, and columns are rounded up to a multiple of COLUMNS.
    """
    current_rows, current_columns = (0, 0) if tensor is None else (tensor.shape[0], tensor.shape[2])
    if tensor is not None and current_rows >= rows and current_columns >= columns:
        return tensor
    new_rows = current_rows if current_rows >= rows else max(rows, 2 * current_rows)
    new_columns = -(-max(columns, current_columns) // COLUMNS) * COLUMNS
    # Zeros, not uninitialised memory: a masked value still takes part as 0 * value, and 0 * nan is nan.
    grown = like.new_zeros(new_rows, like.shape[1], new_columns, like.shape[3])
    if tensor is not None:
        grown[:current_rows, :, :current_columns] = tensor
    return grown
