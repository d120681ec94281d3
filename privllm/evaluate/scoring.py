"""Nats of each token of the held-out rows, shard by shard: which rows are scored, and where the scores are stored.

How a row is scored differs from family to family, see `models.scorers`. Every document token is a label in exactly
one row (see `tokens.pack`). Boundaries between documents are read but not scored. What is hidden depends on the
row's content alone. It sums nothing: `slices` does. Through a store, rows are scored shard by shard and once.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.seed import name_digest, seed_of
from privllm.core.tables import read_table, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.models.family import FAMILIES
from privllm.models.loading import load
from privllm.models.scorers import RowScores, Scorer
from privllm.tokens.rows import Rows, open_shards

ONE_PROCESS = 1 << 62  # bytes: torch uses all cores by itself
TOKEN_SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("place", pa.list_(pa.int32())),  # within the document's tokens
        ("label", pa.list_(pa.int32())),
        ("nats", pa.list_(pa.float64())),
        ("correct", pa.list_(pa.bool_())),  # whether it was the likeliest
    ]
)


class ScoredPiece(NamedTuple):
    """The scored tokens of a piece of a document, one entry a token."""

    id: str
    places: np.ndarray  # int64, ascending
    labels: np.ndarray  # ids of the tokens
    nats: np.ndarray  # float64
    correct: np.ndarray  # whether the token was the likeliest


class ChosenRows(NamedTuple):
    """Rows of one shard of a split."""

    shard: Path
    rows: list[int]


def choose_rows(shards: list[Path], limit: int) -> list[ChosenRows]:
    """Return at most `limit` rows that hold a label, by shard, ascending.

    The choice depends on what is in a row, not on its place.
    """
    ranked = []
    for shard_number, shard in enumerate(shards):
        rows = open_shards([shard])
        for row in range(len(rows)):
            pieces = rows.pieces(row)
            if pieces:
                rank = name_digest("evaluate", pieces[0]["id"], pieces[0]["document_start"])
                ranked.append((rank, shard_number, row))
    ranked.sort()
    rows_by_shard: list[list[int]] = [[] for _ in shards]
    for _, shard_number, row in ranked[:limit]:
        rows_by_shard[shard_number].append(row)
    return [ChosenRows(shard, sorted(rows)) for shard, rows in zip(shards, rows_by_shard, strict=True)]


def score(
    family: str,
    model: Path,
    chosen: list[ChosenRows],
    batch_rows: int,
    out: Path,
    store: Store = NO_STORE,
) -> Iterator[ScoredPiece]:
    """Yield the scored pieces of documents in these rows, in order, and write them to `out` (TOKEN_SCORES), one file a shard.

    Raises UserError when the model's loss is not a number.
    """
    config = model / "config.json"
    weights = model / "model.safetensors"
    not_empty = [shard_rows for shard_rows in chosen if shard_rows.rows]
    jobs = [(family, config, weights, shard, tuple(rows), batch_rows) for shard, rows in not_empty]
    store.map(score_shard, jobs, out, "evaluate", inline_bytes=ONE_PROCESS)
    for shard, _ in not_empty:
        yield from _read_pieces(out / f"{shard.stem}.parquet")


def _read_pieces(path: Path) -> Iterator[ScoredPiece]:
    table = read_table(path)
    ids, *lists = (table[name] for name in TOKEN_SCORES.names)
    for identifier, *values in zip(ids.to_pylist(), *lists, strict=True):
        arrays = [value.values.to_numpy(zero_copy_only=False) for value in values]
        yield ScoredPiece(identifier, *arrays)


def score_shard(
    out: Path,
    family: str,
    config: Path,
    weights: Path,
    shard: Path,
    indices: tuple[int, ...],
    batch_rows: int,
) -> None:
    """Write the TOKEN_SCORES of these rows of one shard."""
    assert config.parent == weights.parent
    model = loaded(family, config.parent)
    rows = open_shards([shard])
    pieces: list[ScoredPiece] = []
    for begin in range(0, len(indices), batch_rows):
        batch = indices[begin : begin + batch_rows]
        pieces += score_rows(FAMILIES[family].scorer, model, rows, batch)
    columns = zip(*pieces, strict=True)
    arrays = []
    for column, kind in zip(columns, TOKEN_SCORES.types, strict=True):
        arrays.append(pa.array(list(column), kind))
    write_table(pa.Table.from_arrays(arrays, schema=TOKEN_SCORES), out / f"{shard.stem}.parquet")


loaded = lru_cache(maxsize=1)(load)  # once, to score and to write samples


def score_rows(scorer: Scorer, model: PreTrainedModel, rows: Rows, indices: tuple[int, ...]) -> list[ScoredPiece]:
    """Return the scored pieces of documents in a batch of rows."""
    tokens_of_rows = [rows.tokens(index) for index in indices]
    pieces_of_rows = [rows.pieces(index) for index in indices]
    seeds = [seed_of("hidden", pieces[0]["id"], pieces[0]["document_start"]) for pieces in pieces_of_rows]
    scores_of_rows = scorer(model, tokens_of_rows, seeds)
    scored: list[ScoredPiece] = []
    for tokens, pieces, scores in zip(tokens_of_rows, pieces_of_rows, scores_of_rows, strict=True):
        scored += _split_by_piece(tokens, pieces, scores)
    return scored


def _split_by_piece(tokens: np.ndarray, pieces: Sequence[dict[str, Any]], scores: RowScores) -> Iterator[ScoredPiece]:
    """Yield the scores of a row, piece by piece, their places counted within the document."""
    for piece in pieces:
        row_start = piece["row_start"]
        row_end = row_start + piece["tokens"]
        is_inside = (scores.places >= row_start) & (scores.places < row_end)
        nats = scores.nats[is_inside]
        if not np.isfinite(nats).all():
            raise UserError(
                f"the model gives document {piece['id']} a loss that is not a number: its training diverged. "
                "Lower the learning rate in params.yaml and run `dvc repro`."
            )
        row_places = scores.places[is_inside]
        document_places = row_places - row_start + piece["document_start"]
        yield ScoredPiece(piece["id"], document_places, tokens[row_places], nats, scores.correct[is_inside])
