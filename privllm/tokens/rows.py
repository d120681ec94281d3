"""Rows of tokens on disk: Arrow IPC streams that are memory-mapped, never loaded.

The files are what HF `datasets` maps too: `Dataset.from_file(path)`, `load_dataset("arrow", data_files=...)`. A row holds
`context + 1` tokens at most; `tokens.pack` says what they are, and `training_rows` makes inputs and labels of them. No torch
here, no order, no sampling.
"""

from pathlib import Path
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


class Rows:
    """Random access to all rows of a split, in shard order. `row_length` is context + 1."""

    def __init__(self, batches: list[pa.RecordBatch], row_length: int) -> None:
        self.row_length = row_length
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
        both = Rows([], self.row_length)
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

    def training_rows(self, indices: np.ndarray, special: SpecialIds, unlearnt: int) -> TrainingRows:
        """Return the rows [B] of `indices`; the labels of what stays empty are `unlearnt`."""
        shape = (len(indices), self.row_length - 1)
        inputs = np.full(shape, special.pad, np.int64)
        labels = np.full(shape, unlearnt, np.int64)
        positions = np.zeros(shape, np.int64)
        for row, index in enumerate(indices.tolist()):
            tokens, starts = self.tokens(index), self.chunk_starts(index)
            length = len(tokens) - 1
            inputs[row, :length] = tokens[:-1]
            labels[row, :length] = tokens[1:]
            labels[row, starts[1:] - 1] = special.end  # only a document that has ended is followed by another
            if index >= self._unended:
                labels[row, starts[1:] - 1] = unlearnt
                labels[row][labels[row] == NO_END] = unlearnt
            positions[row] = _positions(np.append(starts, length), shape[1])
        return TrainingRows(inputs, positions, labels)

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
