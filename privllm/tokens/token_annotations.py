"""Annotations of each token of the packed rows, for training that is guided by them.

    data/guide/masked/{train,validation,test}/*.arrow    GUIDE, row by row beside data/pack
    data/guide/{causal,seq2seq}/none.json                 these families are not guided: always the same

There is one folder for each family, so that a new annotation reaches only the family that uses
annotations. Every shard is made by itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.families import TRAITS
from privllm.core.params import require
from privllm.core.records import GUIDE, POS_TAGS
from privllm.core.report import add_up, write_json
from privllm.core.split import SPLITS
from privllm.core.tables import read_table, shards_of
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.annotation_alignment import parts_of_speech, spans_of
from privllm.tokens.encode import Encoder
from privllm.tokens.rows import BATCH_ROWS, Rows, open_shards

# Of each token: part of speech (index into POS_TAGS), span (-1 outside).
TokenAnnotations = tuple[np.ndarray, np.ndarray]
CODES = {tag: code for code, tag in enumerate(POS_TAGS)}


@dataclass
class GuideConfig:
    max_words: int = 8  # in a phrase, >= 2

    def __post_init__(self) -> None:
        require(self.max_words >= 2, "guide.max_words", "2 or more")


class GuideInputs(NamedTuple):
    """The folders that `guide` reads."""

    rows: Path  # data/pack
    documents: Path  # data/dedup
    annotations: Path  # data/annotate
    tokenizer: Path  # data/tokenizer


def make_guide(cfg: GuideConfig, inputs: GuideInputs, out: Path, store: Store = NO_STORE) -> dict[str, int]:
    """Write `out` and return the counts."""
    jobs = []
    for documents, annotations in zip(shards_of(inputs.documents), shards_of(inputs.annotations), strict=True):
        rows = [inputs.rows / split / f"{documents.stem}.arrow" for split in SPLITS]
        jobs.append((cfg, inputs.tokenizer / "tokenizer.json", documents, annotations, *rows))
    counts: dict[str, int] = {}
    for family, traits in TRAITS.items():
        if traits.wants_annotations:
            counts = add_up(store.map(guide_shard, jobs, out / family, "guide"))
        else:
            (out / family).mkdir(parents=True, exist_ok=True)
            write_json(out / family / "none.json", {})
    return {key: counts.get(key, 0) for key in ("documents", "rows", "tokens", "spans")}


def guide_shard(
    out: Path,
    cfg: GuideConfig,
    tokenizer: Path,
    documents: Path,
    annotations: Path,
    *rows: Path,
) -> dict[str, int]:
    """Write one shard's guide for each split and return counts of what is annotated."""
    by_document = of_tokens(cfg, tokenizer, documents, annotations)
    counts = {"documents": len(by_document), "rows": 0, "tokens": 0, "spans": 0}
    for split, path in zip(SPLITS, rows, strict=True):
        pos_rows, span_rows = [], []
        packed = open_shards([path])
        for i in range(len(packed)):
            pos, spans = of_row(packed, i, by_document)
            pos_rows.append(pos)
            span_rows.append(spans)
            counts["rows"] += len(pos) > 0
            counts["tokens"] += int((pos > 0).sum())
            counts["spans"] += len(np.unique(spans[spans >= 0]))
        columns = [_lists(pos_rows, pa.uint8()), _lists(span_rows, pa.int32())]
        _write(pa.Table.from_arrays(columns, schema=GUIDE), out / split / path.name)
    return counts


def of_tokens(
    cfg: GuideConfig,
    tokenizer: Path,
    documents: Path,
    annotations: Path,
) -> dict[str, TokenAnnotations]:
    """Return {id: annotations of its tokens} of the annotated documents."""
    annotation_of = {row["id"]: row for row in read_table(annotations).to_pylist()}
    if not annotation_of:
        return {}
    encoder = Encoder.open(tokenizer.parent)
    table = read_table(documents, ["id", "text"])
    annotated_ids = pa.array(sorted(annotation_of), pa.string())
    table = table.filter(pc.is_in(table["id"], annotated_ids))
    encoded = encoder.encode_sized(table["text"])
    by_document = {}
    for row, (_, token_sizes) in zip(table.to_pylist(), encoded, strict=True):
        annotation = annotation_of[row["id"]]
        tags = parts_of_speech(row["text"], token_sizes, annotation)
        codes = [CODES.get(tag, CODES["X"]) for tag in tags]
        spans = spans_of(row["text"], token_sizes, annotation, cfg.max_words)
        by_document[row["id"]] = np.array(codes, np.uint8), spans
    return by_document


def of_row(rows: Rows, i: int, by_document: dict[str, TokenAnnotations]) -> TokenAnnotations:
    """Return the annotations of the tokens of row `i`, empty where no token has any.

    Spans of different documents have different numbers.
    """
    length = len(rows.tokens(i))
    row_pos = np.zeros(length, np.uint8)
    row_spans = np.full(length, -1, np.int32)
    for piece in rows.pieces(i):
        if piece["id"] not in by_document:
            continue
        document_pos, document_spans = by_document[piece["id"]]
        in_row = _range(piece["row_start"], piece["tokens"])
        in_document = _range(piece["document_start"], piece["tokens"])
        row_pos[in_row] = document_pos[in_document]
        spans = document_spans[in_document]
        next_number = row_spans.max() + 1
        row_spans[in_row] = np.where(spans >= 0, spans + next_number, -1)
    if not row_pos.any():
        return row_pos[:0], row_spans[:0]
    return row_pos, row_spans


def _range(start: int, length: int) -> slice:
    return slice(start, start + length)


class Guide:
    """Guide of a split with random access, in the order of its rows."""

    def __init__(self, tables: list[pa.Table]) -> None:
        joined = pa.concat_tables(tables)
        self._columns = [joined[name].combine_chunks() for name in ("pos", "span")]

    def __len__(self) -> int:
        return len(self._columns[0])

    def known(self) -> int:
        """Return the number of rows with an annotated token."""
        is_annotated = pc.greater(pc.list_value_length(self._columns[0]), 0)
        return int(pc.sum(is_annotated).as_py() or 0)

    def row(self, i: int, length: int) -> TokenAnnotations:
        """Return part of speech (uint8) and span (int32) of the first `length` tokens of row `i`; none of a row of general text."""
        if i < len(self):
            pos, spans = (column[i].values.to_numpy() for column in self._columns)
            if len(pos):
                return pos[:length], spans[:length]
        return np.zeros(length, np.uint8), np.full(length, -1, np.int32)


def open_guide(folder: Path) -> Guide:
    """Open the guide of one split's folder, memory-mapped."""
    files = [pa.memory_map(str(path)) for path in sorted(folder.glob("*.arrow"))]
    return Guide([pa.ipc.open_stream(file).read_all() for file in files])


def _lists(arrays: list[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    """Return the arrays as one column of lists."""
    lengths = [len(array) for array in arrays]
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    empty = np.empty(0, kind.to_pandas_dtype())  # there may be no arrays
    joined = np.concatenate([*arrays, empty])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(joined, kind))


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
