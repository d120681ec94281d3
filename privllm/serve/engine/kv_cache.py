"""Keys and values of several sequences of different lengths, side by side, for decoding them together.

Row r holds one sequence from column 0 on; what lies behind its length is masked, so nothing is padded, shifted or copied when
sequences join, grow and leave: the last row moves into the hole. The tensors grow as needed and are dropped when nobody is left.
A `transformers` cache for steps of one token; prompts are read with transformers' own and then copied in.

Shapes: R rows, H key/value heads, S columns, D head width.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

COLUMNS = 64  # room grows by so many at least


class SlotLayer(CacheLayerMixin):
    """One block's part; all of them share the table's lengths."""

    is_sliding = False

    def __init__(self, table: "Slots") -> None:
        super().__init__()
        self.table = table
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise AssertionError("rows are added by Slots.add")

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """key_states and value_states [R, H, 1, D] go to the end of each row; returns all up to the longest, [R, H, S, D]."""
        rows, width = len(self.table.lengths), self.table.longest + 1
        assert key_states.shape[2] == 1, "one token a step"
        assert self.keys is not None
        assert self.values is not None
        self.keys[self.table.row_R, :, self.table.end_R] = key_states[:, :, 0]
        self.values[self.table.row_R, :, self.table.end_R] = value_states[:, :, 0]
        return self.keys[:rows, :, :width], self.values[:rows, :, :width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.table.longest + query_length, 0

    def get_seq_length(self) -> int:
        return self.table.longest

    def get_max_length(self) -> int:
        return -1


class Slots(Cache):
    """`lengths[r]` keys are in row r. `begin` before the model's step, `end` after it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(layers=[])
        self.layers: list[Any]
        self.device = device
        self.lengths: list[int] = []
        self.row_R = self.end_R = torch.empty(0, dtype=torch.long)

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    def add(self, read: Any) -> None:
        """A new last row: the one sequence that `read`, a cache of transformers, holds."""
        length = read.get_seq_length()
        if not self.layers:
            self.layers = [SlotLayer(self) for _ in read.layers]
        self._reserve(read, len(self.lengths) + 1, max(self.longest, length) + 1)
        for own, other in zip(self.layers, read.layers, strict=True):
            own.keys[len(self.lengths), :, :length] = other.keys[0]
            own.values[len(self.lengths), :, :length] = other.values[0]
        self.lengths.append(length)

    def remove(self, row: int) -> None:
        """The last row takes the place of `row`."""
        length = self.lengths.pop()
        last = len(self.lengths)
        if row < last:
            for layer in self.layers:
                layer.keys[row, :, :length] = layer.keys[last, :, :length]
                layer.values[row, :, :length] = layer.values[last, :, :length]
            self.lengths[row] = length
        if not self.lengths:
            self.layers = []

    def begin(self) -> tuple[Tensor, Tensor]:
        """(positions [R, 1], keys [1, S]) of the step that follows: key k of row r is seen if k <= positions[r]."""
        self._reserve(self, len(self.lengths), self.longest + 1)
        self.row_R = torch.arange(len(self.lengths), device=self.device)
        self.end_R = torch.tensor(self.lengths, device=self.device)
        return self.end_R[:, None], torch.arange(self.longest + 1, device=self.device)[None]

    def end(self) -> None:
        self.lengths = [length + 1 for length in self.lengths]

    def _reserve(self, like: Any, rows: int, columns: int) -> None:
        """Room for so many; `like` has tensors of the right head count, width and type."""
        for own, other in zip(self.layers, like.layers, strict=True):
            own.keys, own.values = (_room(held, of, rows, columns) for held, of in ((own.keys, other.keys), (own.values, other.values)))


def _room(held: Tensor | None, like: Tensor, rows: int, columns: int) -> Tensor:
    had = (0, 0) if held is None else (held.shape[0], held.shape[2])
    if held is not None and had[0] >= rows and had[1] >= columns:
        return held
    rows, columns = max(rows, had[0] if had[0] >= rows else 2 * had[0]), max(columns, had[1])
    columns = -(-columns // COLUMNS) * COLUMNS
    # Zeros, not whatever was there: a masked value still takes part as 0 * value, and 0 * nan is nan.
    made = like.new_zeros(rows, like.shape[1], columns, like.shape[3])
    if held is not None:
        made[: had[0], :, : had[1]] = held
    return made
