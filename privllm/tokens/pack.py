"""Pack stage: documents in, rows of tokens out; every shard packs itself.

For each split a shard makes one stream: its documents in the order of their ids, each after a
boundary token, and one more boundary at the end. Of the train split some documents may be repeated
after all others (`mixture`). Row k holds stream[k * context : (k + 1) * context + 1]. A row's pieces
say which documents' tokens are at its positions 1 and up: those are the labels of that row, so the
pieces of all rows partition every document's tokens, once for each time that it is packed.

    context 4      | A0 A1 A2 | B0 |        (| is the boundary)
    row 0          | A0 A1 A2 |              pieces A: row_start 1, document_start 0, tokens 3
    row 1                     | B0 |         pieces B: row_start 1, document_start 0, tokens 1

Nothing is padded, shuffled or dropped. A changed document rewrites the rows of its own shard only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.records import PIECE
from privllm.core.report import add_up, balance
from privllm.core.seed import digest
from privllm.core.special_tokens import END_OF_TEXT
from privllm.core.split import SPLITS
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.encode import Encoder
from privllm.tokens.mixture import Weights, copies_of, order_of, read_weights
from privllm.tokens.rows import write_rows

# Tokens are those of each document once, without boundaries; rows are all; bytes are UTF-8.
COUNTS = ("documents", "tokens", "rows", "bytes")
EVEN, FROM_WEAK_SPOTS = "even", "from-weak-spots"
PACKED = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("first_row", pa.int64()),  # within its shard's file of that split
        ("copies", pa.int64()),  # how often it is packed; see `mixture.order_of`
        ("tokens", pa.int64()),  # of one copy
        ("bytes", pa.int64()),
        ("digest", pa.string()),  # `seed.digest` of the text, by which a model's next training knows it again
    ]
)


@dataclass
class PackConfig:
    context: int = 256  # tokens a model sees at once, [8, 65536]
    # even: every document once; from-weak-spots: those like where the promoted model was weak more often
    mixture: str = EVEN
    max_weight: float = 2.0  # how often at most on average, [1, 10]; without effect in an even mixture

    def __post_init__(self) -> None:
        require(8 <= self.context <= 65_536, "pack.context", "between 8 and 65536 tokens")
        require(self.mixture in (EVEN, FROM_WEAK_SPOTS), "pack.mixture", f"{EVEN} or {FROM_WEAK_SPOTS}")
        require(1 <= self.max_weight <= 10, "pack.max_weight", "between 1 and 10")


class TokenStream(NamedTuple):
    """Tokens of one split of one shard, int32 [L], and where each document begins and ends, int64 [D]."""

    tokens: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def pack(
    cfg: PackConfig,
    source: Path,
    tokenizer: Path,
    out: Path,
    store: Store = NO_STORE,
    promoted: Path | None = None,
) -> dict:
    """Write rows of the shards of DEDUPED in `source` and return the report.

    Writes `out/{train,validation,test}/*.arrow` (ROWS) and `out/documents/*.parquet` (PACKED). An even
    mixture does not read `promoted` (data/promoted/weak_spots.json); of another one only the weights
    reach a shard. Raises UserError when a split is left empty, or the weak spots cannot be read.
    """
    weights = read_weights(promoted, cfg.max_weight) if promoted and cfg.mixture == FROM_WEAK_SPOTS else {}
    jobs = [(cfg.context, tokenizer / "tokenizer.json", shard, weights) for shard in shards_of(source)]
    total = add_up(store.map(pack_shard, jobs, out, "pack"))
    report: dict = {}
    for count in COUNTS:
        report[count] = {name: total.get(f"{count} {name}", 0) for name in SPLITS}
    balance(total.get("entered", 0), *report["documents"].values())
    _require_every_split(report["documents"], report["tokens"])
    all_bytes, all_tokens = sum(report["bytes"].values()), sum(report["tokens"].values())
    report["bytes_per_token"] = round(all_bytes / all_tokens, 4)
    repeated = {count: total.get(f"repeated {count}", 0) for count in ("documents", "copies", "tokens")}
    return report | {"context": cfg.context, "weights": weights, "repeated": repeated}


def _require_every_split(documents: dict[str, int], tokens: dict[str, int]) -> None:
    empty = [name for name in SPLITS if not tokens[name]]
    if empty:
        counts = ", ".join(f"{name} {count}" for name, count in documents.items())
        raise UserError(
            f"the corpus is too small to split: of {sum(documents.values())} documents, {' and '.join(empty)} got none with text "
            f"({counts}). Add documents, or change the shares `split.validation` and `split.test` in params.yaml."
        )


def pack_shard(
    out: Path,
    context: int,
    tokenizer_file: Path,
    shard: Path,
    weights: Weights,
) -> dict[str, int]:
    """Pack one shard and return counts, "tokens train" and so on."""
    table = by_id(read_table(shard, ["id", "source", "text", "split"]))
    encoded = Encoder.open(tokenizer_file.parent).encode(table["text"])
    columns = _packed_columns(table, encoded, weights)
    counts = _repetitions(columns["copies"], columns["tokens"])
    packed = []
    for name in SPLITS:
        indices = np.flatnonzero(columns["split"] == name)
        of_split = {key: column[indices] for key, column in columns.items()}
        order = order_of(of_split["copies"])
        stream = join([encoded[i] for i in indices[order]])
        rows = cut(stream.tokens, context)
        pieces = pieces_of(stream, pa.array(of_split["id"][order], pa.string()), context)
        write_rows(rows, pieces, context, out / name / f"{shard.stem}.arrow")
        of_split["first_row"] = (stream.begins[: len(indices)] - 1) // context
        arrays = [pa.array(of_split[field.name], field.type) for field in PACKED]
        packed.append(pa.Table.from_arrays(arrays, schema=PACKED))
        counts[f"documents {name}"] = len(indices)
        counts[f"tokens {name}"] = int(of_split["tokens"].sum())
        counts[f"rows {name}"] = len(rows)
        counts[f"bytes {name}"] = int(of_split["bytes"].sum())
    write_table(by_id(pa.concat_tables(packed)), out / "documents" / shard.name)
    return counts


def _packed_columns(
    table: pa.Table,
    encoded: list[np.ndarray],
    weights: Weights,
) -> dict[str, np.ndarray]:
    """Return the columns of PACKED without first_row, for the documents of a shard."""
    ids, sources, splits = (table[name].to_pylist() for name in ("id", "source", "split"))
    sizes = pc.binary_length(table["text"].cast(pa.binary())).to_numpy()
    split_names = np.array(splits, dtype=object)
    copies = copies_of(weights, ids, sources, sizes.tolist())
    copies[split_names != "train"] = 1
    lengths = [len(tokens) for tokens in encoded]
    digests = [digest(text.encode()) for text in table["text"].to_pylist()]
    return {
        "id": np.array(ids, dtype=object),
        "split": split_names,
        "copies": copies,
        "tokens": np.array(lengths, np.int64),
        "bytes": sizes,
        "digest": np.array(digests, dtype=object),
    }


def _repetitions(copies: np.ndarray, tokens: np.ndarray) -> dict[str, int]:
    repeats = copies - 1
    return {
        "entered": len(copies),
        "repeated documents": int((repeats > 0).sum()),
        "repeated copies": int(repeats.sum()),
        "repeated tokens": int((repeats * tokens).sum()),
    }


def join(documents: list[np.ndarray]) -> TokenStream:
    """Return a stream with a boundary before each document and one at the end; empty without documents."""
    lengths = np.array([len(tokens) for tokens in documents], np.int64)
    ends = np.cumsum(lengths + 1)
    if not documents:
        return TokenStream(np.empty(0, np.int32), ends, ends)
    boundary = np.array([END_OF_TEXT], np.int32)
    pieces = []
    for tokens in documents:
        pieces += [boundary, tokens]
    return TokenStream(np.concatenate([*pieces, boundary]), ends - lengths, ends)


def row_count(length: int, context: int) -> int:
    """Return the number of rows of a stream of `length` tokens: each row has at least one label."""
    return max(0, -(-(length - 1) // context))


def cut(tokens: np.ndarray, context: int) -> pa.ListArray:
    """Return rows of `context + 1` tokens that overlap by one; the last may be shorter."""
    label_count = max(0, len(tokens) - 1)
    full_rows, remainder = divmod(label_count, context)
    end = full_rows * context
    rows = np.empty((full_rows, context + 1), np.int32)
    rows[:, :-1] = tokens[:end].reshape(full_rows, context)
    rows[:, -1] = tokens[context : end + 1 : context]
    last_row = tokens[end:] if remainder else tokens[:0]
    values = np.concatenate([rows.ravel(), last_row])
    assert len(values) < 2**31, "a shard's tokens do not fit Arrow's 32-bit offsets"
    rows_in_all = row_count(len(tokens), context)
    row_starts = np.arange(rows_in_all + 1) * (context + 1)
    offsets = np.minimum(row_starts, len(values)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def pieces_of(stream: TokenStream, ids: pa.Array, context: int) -> pa.ListArray:
    """Return each row's share of each document: `records.PIECE`, ordered by place."""
    # of each document
    first_row = (stream.begins - 1) // context
    last_row = (stream.ends - 2) // context
    piece_counts = np.where(stream.ends > stream.begins, last_row - first_row + 1, 0)
    first_piece = np.cumsum(piece_counts) - piece_counts
    # of each piece
    document = np.repeat(np.arange(len(ids)), piece_counts)
    pieces_before_in_document = np.arange(len(document)) - first_piece[document]
    row = first_row[document] + pieces_before_in_document
    row_begin = row * context  # in the stream; a row's labels are behind its first token
    document_begin = stream.begins[document]
    begin = np.maximum(document_begin, row_begin + 1)
    end = np.minimum(stream.ends[document], row_begin + context + 1)

    columns = [ids.take(pa.array(document))]
    for numbers in (begin - row_begin, begin - document_begin, end - begin):
        columns.append(pa.array(numbers.astype(np.int32)))
    pieces = pa.StructArray.from_arrays(columns, fields=list(PIECE))
    row_numbers = np.arange(row_count(len(stream.tokens), context) + 1)
    offsets = np.searchsorted(row, row_numbers).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pieces)
