"""Which tokens of held-out documents are copied from training documents, so that a held-out loss can leave them out.

`dedup` says which bytes are (`records.COPIED_RUNS`). A token is copied if any of its bytes is. The boundary after a document, which
has no bytes, is not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.errors import UserError
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.encode import Encoder
from privllm.tokens.rows import Rows

COPIED_TOKENS = pa.schema([("id", pa.string()), ("begin", pa.int64()), ("end", pa.int64())])  # tokens of the document


def write_copied_tokens(documents: Path, tokenizer: Path, out: Path, store: Store = NO_STORE) -> None:
    """Write COPIED_TOKENS of the documents in `documents` (data/dedup), one file a shard."""
    jobs = []
    for shard in shards_of(documents):
        jobs.append((shard, documents / "copied" / shard.name, tokenizer / "tokenizer.json"))
    store.map(align_shard, jobs, out, "copied tokens")


def align_shard(out: Path, shard: Path, copied_runs: Path, tokenizer_file: Path) -> None:
    """Write the COPIED_TOKENS of one shard, given its COPIED_RUNS, in the same order."""
    runs = read_table(copied_runs)
    documents = read_table(shard, ["id", "text"])
    documents = by_id(documents.filter(pc.is_in(documents["id"], runs["id"])))
    encoder = Encoder.open(tokenizer_file.parent)
    places: dict[str, np.ndarray] = {}
    for identifier, (_, sizes) in zip(
        documents["id"].to_pylist(), encoder.encode_sized(documents["text"]), strict=True
    ):
        places[identifier] = np.cumsum(sizes)
    rows: list[dict[str, Any]] = []
    for run in runs.to_pylist():
        begin, end = tokens_of(places[run["id"]], run["begin"], run["end"])
        if rows and rows[-1]["id"] == run["id"] and begin < rows[-1]["end"]:  # one token reaches into both runs
            begin = rows.pop()["begin"]
        rows.append({"id": run["id"], "begin": begin, "end": end})
    write_table(pa.Table.from_pylist(rows, COPIED_TOKENS), out / shard.name)


def tokens_of(ends: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """Return which tokens have a byte in [begin, end): the first, and one past the last.

    ends: of each token, one past its last byte. One without a byte goes with the token before it, at the beginning with the first byte: a
    lossy vocabulary writes some characters by several tokens, of which the first has the bytes.
    """
    if not len(ends):  # a text of nothing that the vocabulary keeps
        return 0, 0
    first = np.searchsorted(ends, begin, side="right") if begin else 0
    last = np.searchsorted(ends, end, side="left")
    return int(first), int(np.searchsorted(ends, ends[last], side="right"))


class CopiedTokens:
    """The copied tokens of held-out documents."""

    def __init__(self, table: pa.Table) -> None:
        self._spans: dict[str, list[tuple[int, int]]] = {}
        for identifier, begin, end in zip(*table.to_pydict().values(), strict=True):
            self._spans.setdefault(identifier, []).append((begin, end))

    def in_row(self, pieces: Sequence[Mapping[str, Any]], length: int) -> np.ndarray:
        """Return which of the `length` tokens of a row with these `records.PIECE` are copied: bool.

        Before a piece from within a document stands the token before it.
        """
        is_copied = np.zeros(length, bool)
        for piece in pieces:
            shift = piece["row_start"] - piece["document_start"]
            row_begin = piece["row_start"] - (piece["document_start"] > 0)
            row_end = piece["row_start"] + piece["tokens"]
            for begin, end in self._spans.get(piece["id"], ()):
                is_copied[max(begin + shift, row_begin) : max(0, min(end + shift, row_end))] = True
        return is_copied

    def share_of(self, rows: Rows) -> float:
        """Return the share of copied tokens among all tokens of `rows`."""
        copied = total = 0
        for index in range(len(rows)):
            length = len(rows.tokens(index))
            copied += int(self.in_row(rows.pieces(index), length).sum())
            total += length
        return copied / total if total else 0.0


def open_copied(folder: Path) -> CopiedTokens:
    """Open what `write_copied_tokens` wrote. Raises UserError where there is nothing."""
    shards = shards_of(folder)
    if not shards:
        raise UserError(f"{folder} holds no .parquet shards: run `dvc repro pack` first.")
    return CopiedTokens(pa.concat_tables([read_table(path) for path in shards]))
