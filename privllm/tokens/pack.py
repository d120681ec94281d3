"""pack: documents in, rows of tokens out; every shard packs itself.

For each split a shard makes one stream: its documents in the order of their ids, each behind a boundary token, one more boundary
at the end. Of the train split some may come again behind the others (`mixture`). Row k holds stream[k * context : (k + 1) * context + 1].
A row's pieces say which documents' tokens lie at its positions 1 and up: those are the labels of that row, so the pieces of all rows
partition every document's tokens, once for each time that it is packed.

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
from privllm.core.split import SPLITS, SplitConfig, split_of
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.encode import Encoder
from privllm.tokens.mixture import Weights, copies_of, order_of, read_weights
from privllm.tokens.rows import write_rows

COUNTS = ("documents", "tokens", "rows", "bytes")  # tokens: of documents once, boundaries not counted; rows: all; bytes: UTF-8
EVEN, FROM_WEAK_SPOTS = "even", "from-weak-spots"
PACKED = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("first_row", pa.int64()),  # within its shard's file of that split
        ("copies", pa.int64()),  # how often it is packed; the further ones follow behind all first ones (`mixture.order_of`)
        ("tokens", pa.int64()),  # of one copy
        ("bytes", pa.int64()),
        ("digest", pa.string()),  # `seed.digest` of the text, by which a model's next training knows it again
    ]
)


@dataclass
class PackConfig:
    context: int = 256  # tokens a model sees at once, [8, 65536]
    mixture: str = EVEN  # even: every document once; from-weak-spots: those like where the promoted model was weak more often
    max_weight: float = 2.0  # how often at most on average, [1, 10]; without effect in an even mixture

    def __post_init__(self) -> None:
        require(8 <= self.context <= 65_536, "pack.context", "between 8 and 65536 tokens")
        require(self.mixture in (EVEN, FROM_WEAK_SPOTS), "pack.mixture", f"{EVEN} or {FROM_WEAK_SPOTS}")
        require(1 <= self.max_weight <= 10, "pack.max_weight", "between 1 and 10")


class TokenStream(NamedTuple):
    """The tokens of one split of one shard, int32 [L], and where each document's tokens begin and end, int64 [D]."""

    tokens: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def pack(
    cfg: PackConfig, split: SplitConfig, source: Path, tokenizer: Path, out: Path, store: Store = NO_STORE, promoted: Path | None = None
) -> dict:
    """Shards of DEDUPED in `source` to `out/{train,validation,test}/*.arrow` (ROWS) and `out/documents/*.parquet` (PACKED).

    promoted: data/promoted/weak_spots.json. An even mixture does not read it; of another nothing but the weights reaches a shard.
    Raises UserError when a split is left empty, or the weak spots cannot be read.
    """
    weights = read_weights(promoted, cfg.max_weight) if promoted and cfg.mixture == FROM_WEAK_SPOTS else {}
    jobs = [(cfg.context, split, tokenizer / "tokenizer.json", shard, weights) for shard in shards_of(source)]
    total = add_up(store.map(pack_shard, jobs, out, "pack"))
    report: dict = {count: {name: total.get(f"{count} {name}", 0) for name in SPLITS} for count in COUNTS}
    balance(total.get("entered", 0), *report["documents"].values())
    _require_every_split(split, report["documents"], report["tokens"])
    report["bytes_per_token"] = round(sum(report["bytes"].values()) / sum(report["tokens"].values()), 4)
    repeated = {count: total.get(f"repeated {count}", 0) for count in ("documents", "copies", "tokens")}
    return report | {"context": cfg.context, "weights": weights, "repeated": repeated}


def _require_every_split(split: SplitConfig, documents: dict[str, int], tokens: dict[str, int]) -> None:
    empty = [name for name in SPLITS if not tokens[name]]
    if empty:
        counts = ", ".join(f"{name} {count}" for name, count in documents.items())
        raise UserError(
            f"the corpus is too small to split: of {sum(documents.values())} documents, {' and '.join(empty)} got none with text "
            f"({counts}) with `split.validation` {split.validation} and `split.test` {split.test}. "
            "Add documents, or change these shares in params.yaml."
        )


def pack_shard(out: Path, context: int, split: SplitConfig, tokenizer_file: Path, shard: Path, weights: Weights) -> dict[str, int]:
    """Pack one shard; returns counts, "tokens train" and so on."""
    table = by_id(read_table(shard, ["id", "source", "text", "cluster"]))
    encoded = Encoder.open(tokenizer_file.parent).encode(table["text"])
    sizes = pc.binary_length(table["text"].cast(pa.binary())).to_numpy()
    splits = np.array([split_of(split, cluster) for cluster in table["cluster"].to_pylist()], dtype=object)
    digests = pa.array([digest(text.encode()) for text in table["text"].to_pylist()], pa.string())
    copies = copies_of(weights, table["id"].to_pylist(), table["source"].to_pylist(), sizes.tolist())
    copies[splits != "train"] = 1
    lengths = np.array([len(tokens) for tokens in encoded], np.int64)
    again = copies - 1
    counts = {"entered": len(table), "repeated documents": int((again > 0).sum()), "repeated copies": int(again.sum())}
    counts["repeated tokens"] = int((again * lengths).sum())
    packed = []
    for name in SPLITS:
        chosen = np.flatnonzero(splits == name)
        ids, order = table["id"].take(chosen).combine_chunks(), order_of(copies[chosen])
        stream = join([encoded[i] for i in chosen[order]])
        input_ids = cut(stream.tokens, context)
        write_rows(input_ids, pieces_of(stream, ids.take(pa.array(order)), context), context, out / name / f"{shard.stem}.arrow")
        first_rows = (stream.begins[: len(chosen)] - 1) // context
        columns = [ids, pa.repeat(name, len(ids)), first_rows, copies[chosen], lengths[chosen], sizes[chosen], digests.take(chosen)]
        packed.append(
            pa.table([pa.array(c, t) if isinstance(c, np.ndarray) else c for c, t in zip(columns, PACKED.types, strict=True)], PACKED)
        )
        totals = (len(ids), int(lengths[chosen].sum()), len(input_ids), int(sizes[chosen].sum()))
        counts |= {f"{count} {name}": total for count, total in zip(COUNTS, totals, strict=True)}
    write_table(by_id(pa.concat_tables(packed)), out / "documents" / shard.name)
    return counts


def join(documents: list[np.ndarray]) -> TokenStream:
    """One stream with a boundary before each document and one at the end; nothing at all without documents."""
    lengths = np.array([len(tokens) for tokens in documents], np.int64)
    ends = np.cumsum(lengths + 1)
    if not documents:
        return TokenStream(np.empty(0, np.int32), ends, ends)
    boundary = np.array([END_OF_TEXT], np.int32)
    parts = [part for tokens in documents for part in (boundary, tokens)]
    return TokenStream(np.concatenate([*parts, boundary]), ends - lengths, ends)


def row_count(length: int, context: int) -> int:
    """How many rows a stream of `length` tokens gives: each has at least one label."""
    return max(0, -(-(length - 1) // context))


def cut(tokens: np.ndarray, context: int) -> pa.ListArray:
    """Rows of `context + 1` tokens that overlap by one; the last may be shorter."""
    full, rest = divmod(max(0, len(tokens) - 1), context)
    rows = np.empty((full, context + 1), np.int32)
    rows[:, :-1] = tokens[: full * context].reshape(full, context)
    rows[:, -1] = tokens[context : full * context + 1 : context]
    values = np.concatenate([rows.ravel(), tokens[full * context :] if rest else tokens[:0]])
    assert len(values) < 2**31, "a shard's tokens do not fit Arrow's 32-bit offsets"
    offsets = np.minimum(np.arange(row_count(len(tokens), context) + 1) * (context + 1), len(values))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


def pieces_of(stream: TokenStream, ids: pa.Array, context: int) -> pa.ListArray:
    """For each row, its share of each document: `records.PIECE`, ordered by place."""
    first_row = (stream.begins - 1) // context
    spans = np.where(stream.ends > stream.begins, (stream.ends - 2) // context - first_row + 1, 0)  # rows that a document touches
    document = np.repeat(np.arange(len(ids)), spans)
    ordinal = np.arange(len(document)) - np.repeat(np.cumsum(spans) - spans, spans)
    row = first_row[document] + ordinal
    begin = np.maximum(stream.begins[document], row * context + 1)
    end = np.minimum(stream.ends[document], (row + 1) * context + 1)
    numbers = [begin - row * context, begin - stream.begins[document], end - begin]
    columns = [ids.take(pa.array(document)), *(pa.array(column.astype(np.int32)) for column in numbers)]
    offsets = np.searchsorted(row, np.arange(row_count(len(stream.tokens), context) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(columns, fields=list(PIECE)))
