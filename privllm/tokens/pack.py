"""Pack stage: documents in, rows of tokens out; every shard packs itself.

What a model reads of a document is a boundary token and the document's tokens; what it predicts there is the tokens
and a boundary, the document's end. Both boundaries are one token in our own vocabulary, and may be two in a base model's.
A document that fits into a row of `context` inputs stays whole. A longer one fills rows, and what remains of it is packed
as a short document is: best-fit (see `best_fit`), several to a row. Such a chunk goes on where the row before it ended, so
the inputs of all chunks partition every document's, and so do the labels. A row holds its chunks' inputs and, behind them,
the label of the last one. A row's pieces say which document's tokens are labels at its positions 1 and up, and so where its
chunks begin: one position earlier.

    context 4      | A0 A1 A2 A3 A4       | B0        (| is the boundary)
    row 0          | A0 A1 A2 A3           pieces A: row_start 1, document_start 0, tokens 4
    row 1          A3 A4 | B0 |            pieces A: row_start 1, document_start 4, tokens 1
                                                  B: row_start 3, document_start 0, tokens 1

Each split of a shard makes rows of its own, and each round of repeated documents (`mixture`) too, behind those of all
documents. Nothing is shuffled or dropped; what stays empty at the end of rows is counted, and where it would be more than
`MOST_PADDING`, some documents are cut to fill rows. A changed document rewrites the rows of its own shard only.
"""

from dataclasses import dataclass
from itertools import chain
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
from privllm.core.special_tokens import SpecialIds
from privllm.core.split import SPLITS
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.best_fit import best_fit, fill_gaps
from privllm.tokens.encode import Encoder
from privllm.tokens.mixture import Weights, copies_of, read_weights, rounds_of
from privllm.tokens.rows import write_rows
from privllm.tokens.special_ids import special_ids

# Tokens are those of each document once, without boundaries; rows are all; bytes are UTF-8.
COUNTS = ("documents", "tokens", "rows", "bytes")
MOST_PADDING = 0.02  # of the inputs of a split of a shard; beyond it documents are cut to fill rows
EVEN, FROM_WEAK_SPOTS = "even", "from-weak-spots"
PACKED = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("first_row", pa.int64()),  # within its shard's file of that split; -1 without tokens
        ("copies", pa.int64()),  # how often it is packed; see `mixture.rounds_of`
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


class PackedRows(NamedTuple):
    """Rows of some documents, as columns of ROWS, and the row in which each document begins."""

    input_ids: pa.ListArray
    pieces: pa.ListArray
    first_rows: np.ndarray  # int64 [documents], -1 for one without tokens


class Chunks(NamedTuple):
    """Runs of inputs of documents, ordered by their place in the rows: int64 [chunks] each."""

    document: np.ndarray
    begin: np.ndarray  # within the document's inputs, of which the first stands before its tokens
    length: np.ndarray
    row: np.ndarray
    place: np.ndarray  # within the row


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
    special = special_ids(tokenizer)
    jobs = [(cfg.context, tokenizer / "tokenizer.json", special, shard, weights) for shard in shards_of(source)]
    total = add_up(store.map(pack_shard, jobs, out, "pack"))
    report: dict = {}
    for count in COUNTS:
        report[count] = {name: total.get(f"{count} {name}", 0) for name in SPLITS}
    balance(total.get("entered", 0), *report["documents"].values())
    _require_every_split(report["documents"], report["tokens"])
    all_bytes, all_tokens = sum(report["bytes"].values()), sum(report["tokens"].values())
    report["bytes_per_token"] = round(all_bytes / all_tokens, 4)
    report["padding"] = _padding_shares(total, cfg.context)
    repeated = {count: total.get(f"repeated {count}", 0) for count in ("documents", "copies", "tokens")}
    return report | {"context": cfg.context, "weights": weights, "repeated": repeated}


def _padding_shares(total: dict[str, int], context: int) -> dict[str, float]:
    """Return the share of the rows' positions that stay empty, by split."""
    shares = {}
    for name in SPLITS:
        positions = total.get(f"rows {name}", 0) * context
        shares[name] = round(total.get(f"padding {name}", 0) / max(1, positions), 4)
    return shares


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
    special: SpecialIds,
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
        rounds = []
        for chosen in rounds_of(of_split["copies"]):
            ids = pa.array(of_split["id"][chosen], pa.string())
            rounds.append(pack_rows([encoded[i] for i in indices[chosen]], ids, context, special))
        rows = pa.concat_arrays([packed_round.input_ids for packed_round in rounds])
        pieces = pa.concat_arrays([packed_round.pieces for packed_round in rounds])
        write_rows(rows, pieces, context, out / name / f"{shard.stem}.arrow")
        of_split["first_row"] = rounds[0].first_rows
        arrays = [pa.array(of_split[field.name], field.type) for field in PACKED]
        packed.append(pa.Table.from_arrays(arrays, schema=PACKED))
        counts[f"documents {name}"] = len(indices)
        counts[f"tokens {name}"] = int(of_split["tokens"].sum())
        counts[f"rows {name}"] = len(rows)
        counts[f"padding {name}"] = len(rows) * (context + 1) - len(rows.values)
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


def pack_rows(documents: list[np.ndarray], ids: pa.Array, context: int, special: SpecialIds) -> PackedRows:
    """Return the rows of these documents' tokens (int32), best-fit; `ids` names the documents in their pieces."""
    lengths = np.array([len(tokens) for tokens in documents], np.int64)
    chunks = chunks_of(lengths, context)
    row_count = int(chunks.row.max(initial=-1)) + 1
    first_rows = np.full(len(documents), -1, np.int64)
    is_beginning = chunks.begin == 0
    first_rows[chunks.document[is_beginning]] = chunks.row[is_beginning]
    input_ids = _rows_of(documents, lengths, chunks, row_count, special)
    pieces = _pieces_of(lengths, ids, chunks, row_count)
    return PackedRows(input_ids, pieces, first_rows)


def chunks_of(lengths: np.ndarray, context: int) -> Chunks:
    """Return the chunks of documents with `lengths` tokens: those that fill rows, and then what remains, best-fit.

    Where that leaves more than `MOST_PADDING` empty, some of what remains is cut. A document without tokens has none.
    """
    inputs = np.where(lengths > 0, lengths + 1, 0)  # what stands before a document is an input too
    full_rows, rests = np.divmod(inputs, context)
    full_count = int(full_rows.sum())
    full_document = np.repeat(np.arange(len(lengths)), full_rows)
    full_before_document = np.cumsum(full_rows) - full_rows
    full_begin = (np.arange(full_count) - full_before_document[full_document]) * context

    with_rest = np.flatnonzero(rests)
    whole = best_fit(rests[with_rest], context)
    bins = fill_gaps(whole, rests[with_rest], context, allowed=int(MOST_PADDING * inputs.sum()))
    rest_index, rest_begin, rest_length = np.array(list(chain.from_iterable(bins)), np.int64).reshape(-1, 3).T
    rest_document = with_rest[rest_index]
    rest_bin = np.repeat(np.arange(len(bins)), [len(parts) for parts in bins])
    rest_before = np.cumsum(rest_length) - rest_length  # the inputs of all chunks before
    first_of_bin = np.searchsorted(rest_bin, rest_bin)
    return Chunks(
        document=np.concatenate([full_document, rest_document]),
        begin=np.concatenate([full_begin, full_rows[rest_document] * context + rest_begin]),
        length=np.concatenate([np.full(full_count, context), rest_length]),
        row=np.concatenate([np.arange(full_count), full_count + rest_bin]),
        place=np.concatenate([np.zeros(full_count, np.int64), rest_before - rest_before[first_of_bin]]),
    )


def _rows_of(
    documents: list[np.ndarray], lengths: np.ndarray, chunks: Chunks, row_count: int, special: SpecialIds
) -> pa.ListArray:
    """Return the tokens of each row: the inputs of its chunks, and the label of the last one."""
    before, after = (np.array([mark], np.int32) for mark in (special.begin, special.end))
    stream = np.concatenate([before[:0], *chain.from_iterable((before, tokens, after) for tokens in documents)])
    document_begins = np.cumsum(lengths + 2) - lengths - 2  # of what stands before each document
    begins = document_begins[chunks.document] + chunks.begin
    is_last = np.diff(chunks.row, append=row_count) > 0
    ends = begins + chunks.length + is_last
    parts = [stream[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    values = np.concatenate([stream[:0], *parts])
    assert len(values) < 2**31, "a shard's tokens do not fit Arrow's 32-bit offsets"
    row_lengths = np.bincount(chunks.row, ends - begins, row_count)
    offsets = np.concatenate([[0], np.cumsum(row_lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _pieces_of(lengths: np.ndarray, ids: pa.Array, chunks: Chunks, row_count: int) -> pa.ListArray:
    """Return each row's share of each document's tokens: `records.PIECE`, ordered by place.

    It may be none, where only the document's end remained.
    """
    token_ends = np.minimum(chunks.begin + chunks.length, lengths[chunks.document])
    columns = [ids.take(pa.array(chunks.document))]
    for numbers in (chunks.place + 1, chunks.begin, token_ends - chunks.begin):
        columns.append(pa.array(numbers.astype(np.int32)))
    pieces = pa.StructArray.from_arrays(columns, fields=list(PIECE))
    offsets = np.searchsorted(chunks.row, np.arange(row_count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pieces)
