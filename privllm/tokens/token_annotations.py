"""guide: what annotations say of each token of the packed rows, for training that is guided by them.

    data/guide/masked/{train,validation,test}/*.arrow    GUIDE, row by row beside data/pack
    data/guide/{causal,seq2seq}/none.json                 these families are not guided: nothing, and always the same

One folder for each family, so that a new annotation reaches only the family that looks at annotations. Every shard makes its own.
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
from privllm.tokens.annotation_alignment import parts_of_speech, spans_of, token_bytes
from privllm.tokens.encode import Encoder
from privllm.tokens.rows import BATCH_ROWS, Rows, open_shards

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


def guide_shard(out: Path, cfg: GuideConfig, tokenizer: Path, documents: Path, annotations: Path, *rows: Path) -> dict[str, int]:
    """Write one shard's guide for each split; counts of what is annotated."""
    known = of_tokens(cfg, tokenizer, documents, annotations)
    counts = {"documents": len(known), "rows": 0, "tokens": 0, "spans": 0}
    for split, path in zip(SPLITS, rows, strict=True):
        pos, span = [], []
        packed = open_shards([path])
        for i in range(len(packed)):
            codes, numbers = of_row(packed, i, known)
            pos.append(codes)
            span.append(numbers)
            counts["rows"] += len(codes) > 0
            counts["tokens"] += int((codes > 0).sum())
            counts["spans"] += len(np.unique(numbers[numbers >= 0]))
        columns = [_lists(pos, pa.uint8()), _lists(span, pa.int32())]
        _write(pa.Table.from_arrays(columns, schema=GUIDE), out / split / path.name)
    return counts


def of_tokens(cfg: GuideConfig, tokenizer: Path, documents: Path, annotations: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By annotated document: the part of speech (index into POS_TAGS) and the span of each of its tokens."""
    spans = {row["id"]: row for row in read_table(annotations).to_pylist()}
    if not spans:
        return {}
    encoder = Encoder.open(tokenizer.parent)
    sizes = token_bytes(encoder.reference.get_vocab())
    table = read_table(documents, ["id", "text"])
    table = table.filter(pc.is_in(table["id"], pa.array(sorted(spans), pa.string())))
    known = {}
    for identifier, text, tokens in zip(table["id"].to_pylist(), table["text"].to_pylist(), encoder.encode(table["text"]), strict=True):
        pos = parts_of_speech(text, sizes[tokens], spans[identifier])
        codes = np.array([CODES.get(tag, CODES["X"]) for tag in pos], np.uint8)
        known[identifier] = codes, spans_of(text, sizes[tokens], spans[identifier], cfg.max_words)
    return known


def of_row(rows: Rows, i: int, known: dict[str, tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Part of speech and span of the tokens of row `i`, both empty where none is known. Spans of different documents differ."""
    length = len(rows.tokens(i))
    codes, numbers = np.zeros(length, np.uint8), np.full(length, -1, np.int32)
    for piece in rows.pieces(i):
        if piece["id"] in known:
            here = slice(piece["row_start"], piece["row_start"] + piece["tokens"])
            there = slice(piece["document_start"], piece["document_start"] + piece["tokens"])
            codes[here] = known[piece["id"]][0][there]
            span = known[piece["id"]][1][there]
            numbers[here] = np.where(span >= 0, span + numbers.max() + 1, -1)
    return (codes, numbers) if codes.any() else (codes[:0], numbers[:0])


class Guide:
    """Random access to the guide of a split, in the order of its rows."""

    def __init__(self, tables: list[pa.Table]) -> None:
        joined = pa.concat_tables(tables)
        self._columns = [joined[name].combine_chunks() for name in ("pos", "span")]

    def __len__(self) -> int:
        return len(self._columns[0])

    def known(self) -> int:
        """How many rows hold an annotated token."""
        return int(pc.sum(pc.greater(pc.list_value_length(self._columns[0]), 0)).as_py() or 0)

    def row(self, i: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Part of speech (uint8, index into POS_TAGS) and span (int32, -1 outside) of the first `length` tokens of row `i`."""
        pos, span = (column[i].values.to_numpy() for column in self._columns)
        return (pos[:length], span[:length]) if len(pos) else (np.zeros(length, np.uint8), np.full(length, -1, np.int32))


def open_guide(folder: Path) -> Guide:
    """The guide of one split's folder."""
    return Guide([pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in sorted(folder.glob("*.arrow"))])


def _lists(arrays: list[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    offsets = np.cumsum([0, *map(len, arrays)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate([*arrays, np.empty(0, kind.to_pandas_dtype())]), kind))


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
