"""Rows of tokens on disk: Arrow IPC streams that are memory-mapped, never loaded.

The files are what HF `datasets` maps too: `Dataset.from_file(path)`, `load_dataset("arrow", data_files=...)`. A row holds
`context + 1` tokens at most; `tokens.pack` says what they are, and `training_rows` makes inputs and labels of them. No torch
here, no order, no sampling.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.errors import UserError
from privllm.core.records import ROWS
from privllm.core.special_tokens import SpecialIds

NO_END = -1  # stands for the end of a text that may have been cut off: it is no token
BATCH_ROWS = 1000  # rows of one Arrow record batch


class TrainingRows(NamedTuple):
    """Rows as a model is trained on them: int64 [B, context] each.

    Positions count from 0 in each document's chunk, and in what stays empty at a row's end.
    """

    inputs: np.ndarray
    positions: np.ndarray
    labels: np.ndarray  # the next token; at the end of a document what stands after it


def write_rows(input_ids: pa.ListArray, pieces: pa.ListArray, context: int, path: Path) -> None:
    """Write one shard, possibly empty. Equal rows give equal bytes; a reader never sees half a file."""
    schema = ROWS.with_metadata({"context": str(context)})
    table = pa.Table.from_arrays([input_ids, pieces], schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    partial.replace(path)


class Run(NamedTuple):
    """Full rows of one document, side by side, so that it could be cut elsewhere as well; a row of them asks."""

    first: int
    is_last: bool  # whether the row that asked is the last of them


class Window(NamedTuple):
    """A row as a model reads it: [n] each, n at most the context."""

    tokens: np.ndarray
    next_tokens: np.ndarray  # int64; NO_END where nothing is learnt
    starts: np.ndarray  # of chunks, ascending from 0


class Rows:
    """Random access to all rows of a split, in shard order. `row_length` is context + 1."""

    def __init__(
        self, batches: list[pa.RecordBatch], row_length: int, only_read: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """`only_read` says of documents, by id, how many tokens at their beginning are no labels."""
        self.row_length = row_length
        self._only_read = dict(only_read)
        self._pieces = [batch.column("pieces") for batch in batches]
        token_lists = [batch.column("input_ids") for batch in batches]
        self._offsets = [column.offsets.to_numpy() for column in token_lists]
        self._values = [column.values.to_numpy() for column in token_lists]
        row_counts = [len(column) for column in token_lists]
        self._starts = np.cumsum([0, *row_counts])
        self._unended = len(self)  # from this row on nothing is learnt at the ends of chunks

    def followed_by(self, others: "Rows") -> "Rows":
        """Return these rows with others of the same length behind them, whose texts may be cut off: they end in NO_END."""
        assert self.row_length == others.row_length, "rows of another context"
        both = Rows([], self.row_length, self._only_read | others._only_read)
        both._pieces = self._pieces + others._pieces
        both._offsets = self._offsets + others._offsets
        both._values = self._values + others._values
        both._starts = np.concatenate([self._starts, len(self) + others._starts[1:]])
        both._unended = len(self)
        return both

    def __len__(self) -> int:
        return int(self._starts[-1])

    def tokens(self, i: int) -> np.ndarray:
        """Return row `i`: int32, a view of the file; 2 to `row_length` tokens."""
        chunk, row = self._find(i)
        begin, end = self._offsets[chunk][row : row + 2]
        return self._values[chunk][begin:end]

    def pieces(self, i: int) -> list[dict[str, Any]]:
        """Return which document's tokens lie where in row `i`, as dicts of `records.PIECE`; boundaries lie in none."""
        chunk, row = self._find(i)
        return self._pieces[chunk][row].as_py()

    def only_of(self, ids: pa.Array) -> np.ndarray:
        """Return which rows hold tokens of the documents `ids` and of no others: bool [rows]."""
        masks = [np.zeros(0, bool)]
        for column in self._pieces:
            is_foreign = ~pc.is_in(column.flatten().field("id"), ids).to_numpy(zero_copy_only=False)
            foreign_before = _sums_before(is_foreign)  # pieces of other documents before each piece
            row_edges = _sums_before(pc.list_value_length(column).to_numpy())  # the pieces before each row
            masks.append(foreign_before[row_edges[1:]] == foreign_before[row_edges[:-1]])
        return np.concatenate(masks)

    def chunk_starts(self, i: int) -> np.ndarray:
        """Return where in row `i` each chunk of a document begins: int64, ascending from 0."""
        chunk, row = self._find(i)
        row_starts = self._pieces[chunk][row].values.field("row_start")
        return row_starts.to_numpy().astype(np.int64) - 1

    def run_of(self, i: int) -> Run | None:
        """Return the run that row `i` is of; None where it holds more than one document's text, or has no neighbour."""
        if not self._is_full(i):
            return None
        (piece,) = self.pieces(i)
        if piece["id"] in self._only_read:
            return None  # what is only read is known by its place
        begin, context = piece["document_start"], self.row_length - 1
        is_last = True
        if i + 1 < len(self) and self._is_full(i + 1):
            (following,) = self.pieces(i + 1)
            is_last = (following["id"], following["document_start"]) != (piece["id"], begin + context)
        first = i - begin // context  # `pack` lays a document's full rows side by side, from its beginning
        return None if is_last and first == i else Run(first, is_last)

    def _is_full(self, i: int) -> bool:
        """Return whether row `i` is text of one document to its end."""
        return len(self.tokens(i)) == self.row_length and len(self.chunk_starts(i)) == 1

    def training_rows(
        self, indices: np.ndarray, special: SpecialIds, unlearnt: int, shifts: np.ndarray | None = None
    ) -> TrainingRows:
        """Return the rows [B] of `indices`; the labels of what stays empty are `unlearnt`.

        A row of a run is cut so many tokens further on as `shifts` [B] say, below the context; 0 everywhere else.
        """
        shape = (len(indices), self.row_length - 1)
        inputs = np.full(shape, special.pad, np.int64)
        labels = np.full(shape, unlearnt, np.int64)
        positions = np.zeros(shape, np.int64)
        for row, index in enumerate(indices.tolist()):
            shift = 0 if shifts is None else int(shifts[row])
            window = self._cut_elsewhere(index, shift) if shift else self._as_packed(index, special)
            length = len(window.tokens)
            inputs[row, :length] = window.tokens
            labels[row, :length] = np.where(window.next_tokens == NO_END, unlearnt, window.next_tokens)
            positions[row] = _positions(np.append(window.starts, length), shape[1])
        return TrainingRows(inputs, positions, labels)

    def _as_packed(self, i: int, special: SpecialIds) -> Window:
        tokens, starts = self.tokens(i), self.chunk_starts(i)
        next_tokens = tokens[1:].astype(np.int64)
        # Only a document that has ended is followed by another.
        next_tokens[starts[1:] - 1] = NO_END if i >= self._unended else special.end
        if self._only_read:
            for piece in self.pieces(i):
                unlearnt = self._only_read.get(piece["id"], 0) - piece["document_start"]
                first_label = piece["row_start"] - 1
                next_tokens[first_label : first_label + min(max(0, unlearnt), piece["tokens"])] = NO_END
        return Window(tokens[:-1], next_tokens, starts)

    def _cut_elsewhere(self, i: int, shift: int) -> Window:
        """Return row `i` of a run cut `shift` tokens further on.

        The run's last row ends in what then stands before its first: the beginning of the run, as a chunk of its own.
        """
        run = self.run_of(i)
        assert run is not None, f"row {i} has no neighbour"
        own, other = self.tokens(i), self.tokens(run.first if run.is_last else i + 1)
        tokens = np.concatenate([own[shift:-1], other[:shift]])
        next_tokens = np.concatenate([own[shift + 1 :], other[1 : shift + 1]])
        starts = [0, len(own) - 1 - shift] if run.is_last else [0]
        return Window(tokens, next_tokens.astype(np.int64), np.array(starts))

    def _find(self, i: int) -> tuple[int, int]:
        if not 0 <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        chunk = int(np.searchsorted(self._starts, i, side="right")) - 1
        row_in_chunk = i - int(self._starts[chunk])
        return chunk, row_in_chunk


def _positions(starts: np.ndarray, width: int) -> np.ndarray:
    """Return how far each of `width` places is from the last of `starts` before it: int64 [width]."""
    ends = np.append(starts[1:], width)
    return np.arange(width) - np.repeat(starts, ends - starts)


def _sums_before(counts: np.ndarray) -> np.ndarray:
    """Return the sum of all counts before each one, and the sum of all: int64 [counts + 1]."""
    return np.cumsum(np.concatenate([[0], counts]))


def open_rows(folder: Path) -> Rows:
    """Open all shards of one split's folder, memory-mapped. Raises UserError where there are none."""
    return open_shards(shards_in(folder))


def shards_in(folder: Path) -> list[Path]:
    """Return the shards of one split's folder, in order. Raises UserError where there are none."""
    paths = sorted(folder.glob("*.arrow"))
    if not paths:
        raise UserError(f"{folder} holds no .arrow shards: run `dvc repro pack` first.")
    return paths


def open_shards(paths: list[Path]) -> Rows:
    """Open these shards of one split, memory-mapped."""
    tables = [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in paths]
    contexts = {int(table.schema.metadata[b"context"]) for table in tables}
    assert len(contexts) == 1, f"shards of {paths[0].parent} were packed for different contexts {sorted(contexts)}"
    batches: list[pa.RecordBatch] = []
    for table in tables:
        batches += [batch for batch in table.to_batches() if len(batch)]
    (context,) = contexts
    return Rows(batches, row_length=context + 1)
