"""How many nats a model needs for each token of the held-out rows, in every family's own way.

causal     each token from those before it
masked     each token from those on both sides, of which a third are hidden at a time: three passes hide every token once
           (a pseudo-likelihood, Salazar et al. 2020, arXiv 1910.14659, with more than one gap at a time)
seq2seq    the tokens of spans cut out by chance, each from the text around the spans and the spans before it

Every document token is a label in exactly one row (see `tokens.pack`). Boundaries between documents are read but not scored. What is
hidden depends on the row's content alone. It sums nothing: `slices` does. Through a store, rows are scored shard by shard and once.

Shapes: B rows, T tokens, V vocabulary.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.seed import name_digest, seed_of
from privllm.core.special_tokens import MASK, PAD
from privllm.core.tables import read_table, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.models.family import load
from privllm.models.seq2seq import SENTINELS
from privllm.models.span_corruption import CorruptionConfig, cut_out, holes
from privllm.tokens.rows import Rows, open_shards

PASSES = 3
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


class Scored(NamedTuple):
    """A part of a document: its tokens at `places`, int64 ascending, what they are, their nats (float64), and whether they were guessed."""

    id: str
    places: np.ndarray
    labels: np.ndarray
    nats: np.ndarray
    correct: np.ndarray


class Chosen(NamedTuple):
    """Rows of one shard of a split."""

    shard: Path
    rows: list[int]


RowScores = tuple[np.ndarray, np.ndarray, np.ndarray]  # places within the row (1 and up), nats, correct


def choose_rows(shards: list[Path], limit: int) -> list[Chosen]:
    """At most `limit` rows that hold a label, by shard, ascending; which ones depends on what is in them, not on their place."""
    opened = [open_shards([shard]) for shard in shards]
    found = [(pieces[0], n, i) for n, rows in enumerate(opened) for i in range(len(rows)) if (pieces := rows.pieces(i))]
    order = sorted((name_digest("evaluate", piece["id"], piece["document_start"]), n, i) for piece, n, i in found)[:limit]
    return [Chosen(shard, sorted(i for _, of, i in order if of == n)) for n, shard in enumerate(shards)]


def score(family: str, model: Path, chosen: list[Chosen], batch_rows: int, out: Path, store: Store = NO_STORE) -> Iterator[Scored]:
    """The parts of documents in these rows, in order; they are kept in `out` (TOKEN_SCORES), one file a shard.

    Raises UserError when the model's loss is not a number.
    """
    files = (model / "config.json", model / "model.safetensors")
    wanted = [one for one in chosen if one.rows]
    jobs = [(family, *files, one.shard, tuple(one.rows), batch_rows) for one in wanted]
    store.map(score_shard, jobs, out, "evaluate", inline_bytes=ONE_PROCESS)
    for one in wanted:
        table = read_table(out / f"{one.shard.stem}.parquet")
        columns = [[part.values.to_numpy(zero_copy_only=False) for part in table[name]] for name in TOKEN_SCORES.names[1:]]
        yield from (Scored(*part) for part in zip(table["id"].to_pylist(), *columns, strict=True))


def score_shard(out: Path, family: str, config: Path, weights: Path, shard: Path, indices: tuple[int, ...], batch_rows: int) -> None:
    """Write the TOKEN_SCORES of these rows of one shard."""
    assert config.parent == weights.parent
    model, rows, parts = loaded(family, config.parent), open_shards([shard]), []
    for begin in range(0, len(indices), batch_rows):
        parts += score_rows(SCORERS[family], model, rows, indices[begin : begin + batch_rows])
    columns = zip(*((part.id, part.places, part.labels, part.nats, part.correct) for part in parts), strict=True)
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, TOKEN_SCORES.types, strict=True)]
    write_table(pa.Table.from_arrays(arrays, schema=TOKEN_SCORES), out / f"{shard.stem}.parquet")


loaded = lru_cache(maxsize=1)(load)  # to score and to write samples


def score_rows(scorer: "Scorer", model: PreTrainedModel, rows: Rows, indices: tuple[int, ...]) -> list[Scored]:
    """The parts of documents in a batch of rows."""
    tokens = [rows.tokens(i) for i in indices]
    pieces = [rows.pieces(i) for i in indices]
    seeds = [seed_of("hidden", own[0]["id"], own[0]["document_start"]) for own in pieces]
    found = []
    for row, own, (places, nats, correct) in zip(tokens, pieces, scorer(model, tokens, seeds), strict=True):
        for piece in own:
            here = (places >= piece["row_start"]) & (places < piece["row_start"] + piece["tokens"])
            at = places[here]
            if not np.isfinite(nats[here]).all():
                raise UserError(
                    f"the model gives document {piece['id']} a loss that is not a number: its training diverged. "
                    "Lower the learning rate in params.yaml and run `dvc repro`."
                )
            found.append(Scored(piece["id"], at - piece["row_start"] + piece["document_start"], row[at], nats[here], correct[here]))
    return found


@torch.inference_mode()
def next_token(model: PreTrainedModel, rows: list[np.ndarray], seeds: list[int]) -> list[RowScores]:
    """Causal: every token but the first, which is known from the row before or a boundary."""
    ids, _ = _padded(rows, model)
    nats, correct = _compare(model(input_ids=ids[:, :-1], use_cache=False).logits, ids[:, 1:])
    return [(np.arange(1, len(row)), nats[i, : len(row) - 1], correct[i, : len(row) - 1]) for i, row in enumerate(rows)]


@torch.inference_mode()
def gaps(model: PreTrainedModel, rows: list[np.ndarray], seeds: list[int]) -> list[RowScores]:
    """Masked: a third of a row's tokens hidden at a time; its first token belongs to the row before and is left out."""
    ids, seen = _padded([row[1:] for row in rows], model)
    turn = np.zeros(ids.shape, np.int64)
    for i, (row, seed) in enumerate(zip(rows, seeds, strict=True)):
        turn[i, : len(row) - 1] = np.random.Generator(np.random.PCG64(seed)).permutation(len(row) - 1) % PASSES
    nats, correct = np.zeros(ids.shape), np.zeros(ids.shape, bool)
    for number in range(PASSES):
        hidden = torch.from_numpy(turn == number).to(ids.device) & seen
        found = _compare(model(input_ids=ids.masked_fill(hidden, MASK), attention_mask=seen).logits, ids)
        where = hidden.cpu().numpy()
        nats[where], correct[where] = found[0][where], found[1][where]
    return [(np.arange(1, len(row)), nats[i, : len(row) - 1], correct[i, : len(row) - 1]) for i, row in enumerate(rows)]


@torch.inference_mode()
def spans(model: PreTrainedModel, rows: list[np.ndarray], seeds: list[int]) -> list[RowScores]:
    """seq2seq: the tokens of spans, cut out as T5 does; a row's first token belongs to the row before and is left out."""
    vocabulary = model.config.vocab_size - SENTINELS
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    places: list[np.ndarray] = []
    for row, seed in zip(rows, seeds, strict=True):
        begin = 1 if len(row) > 2 else 0  # of two tokens one must stay
        cut = holes(CorruptionConfig(), len(row) - begin, np.random.Generator(np.random.PCG64(seed)))
        for kept, part in zip((inputs, labels), cut_out(row[begin:], cut, vocabulary), strict=True):
            kept.append(part)
        places.append(np.concatenate([[-1, *range(start + begin, end + begin)] for start, end in cut] + [[-1]]).astype(np.int64))
    ids, seen = _padded(inputs, model)
    wanted, _ = _padded(labels, model)
    nats, correct = _compare(model(input_ids=ids, attention_mask=seen, labels=wanted, use_cache=False).logits, wanted)
    inside = [at >= 0 for at in places]  # neither a sentinel nor the end
    return [(at[own], nats[i, : len(at)][own], correct[i, : len(at)][own]) for i, (at, own) in enumerate(zip(places, inside, strict=True))]


Scorer = Callable[[PreTrainedModel, list[np.ndarray], list[int]], list[RowScores]]
SCORERS: dict[str, Scorer] = {"causal": next_token, "masked": gaps, "seq2seq": spans}


def _padded(rows: list[np.ndarray], model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Rows as int64 [B, T] on the model's device, filled up, and which positions are real (bool [B, T])."""
    filled = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for line, row in zip(filled, rows, strict=True):
        line[: len(row)] = row
    real = np.arange(filled.shape[1])[None, :] < np.array([len(row) for row in rows])[:, None]
    return torch.from_numpy(filled).to(model.device), torch.from_numpy(real).to(model.device)


def _compare(logits_BTV: Tensor, labels_BT: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Nats (float64 [B, T]) of the labels, and whether each was the likeliest."""
    nats = F.cross_entropy(logits_BTV.float().flatten(0, 1), labels_BT.flatten(), reduction="none").view_as(labels_BT)
    return nats.double().cpu().numpy(), (logits_BTV.argmax(-1) == labels_BT).cpu().numpy()
