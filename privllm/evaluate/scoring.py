"""Nats of each token of held-out documents, shard by shard: windows of whole documents, and where the scores are stored.

How a window is scored differs from family to family, see `models.scorers`. Every token of a document, and its end, is
scored in at most one window (see `windows`; what a family never hides is not scored). What is hidden depends on the
document and the window's place alone. It sums nothing: `slices` does. Through a store, documents are scored shard by shard
and once. Any model scores any documents by its own tokenizer and context, so two models are judged on the same text.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.seed import seed_of
from privllm.core.special_tokens import SpecialIds
from privllm.core.tables import by_id, read_table, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.evaluate.windows import Window, stream_of, windows
from privllm.models.devices import arithmetic, place
from privllm.models.family import FAMILIES
from privllm.models.loading import context_of, load
from privllm.models.scorers import RowScores
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import special_ids

ONE_PROCESS = 1 << 62  # bytes: torch uses all cores by itself
LONG_WINDOW = 512  # tokens; of longer ones fewer are scored at once
TOKEN_SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("place", pa.list_(pa.int32())),  # within the document's tokens; their number for the end of the document
        ("label", pa.list_(pa.int32())),
        ("nats", pa.list_(pa.float64())),
        ("correct", pa.list_(pa.bool_())),  # whether it was the likeliest
    ]
)


class ScoredDocument(NamedTuple):
    """The scored tokens of a document, one entry a token."""

    id: str
    places: np.ndarray  # int64, ascending
    labels: np.ndarray  # ids of the tokens
    nats: np.ndarray  # float64
    correct: np.ndarray  # whether the token was the likeliest


class ModelFiles(NamedTuple):
    """What decides how a model scores a text."""

    family: str
    folder: Path  # config.json, model.safetensors
    tokenizer: Path  # a folder with tokenizer.json


def score(
    files: ModelFiles,
    ids_by_shard: Mapping[Path, Sequence[str]],
    batch_rows: int,
    out: Path,
    store: Store = NO_STORE,
) -> Iterator[ScoredDocument]:
    """Yield the scores of these documents, in order, and write them to `out` (TOKEN_SCORES), one file a shard.

    Raises UserError when the model's loss is not a number.
    """
    config = files.folder / "config.json"
    weights = files.folder / "model.safetensors"
    tokenizer = files.tokenizer / "tokenizer.json"
    special = special_ids(files.tokenizer)
    jobs = [
        (files.family, config, weights, tokenizer, special, shard, tuple(ids), batch_rows, arithmetic())
        for shard, ids in ids_by_shard.items()
    ]
    store.map(score_shard, jobs, out, "evaluate", inline_bytes=ONE_PROCESS)
    for shard in ids_by_shard:
        yield from _read_scores(out / f"{shard.stem}.parquet")


def _read_scores(path: Path) -> Iterator[ScoredDocument]:
    table = read_table(path)
    ids, *lists = (table[name] for name in TOKEN_SCORES.names)
    for identifier, *values in zip(ids.to_pylist(), *lists, strict=True):
        arrays = [value.values.to_numpy(zero_copy_only=False) for value in values]
        yield ScoredDocument(identifier, *arrays)


def score_shard(
    out: Path,
    family: str,
    config: Path,
    weights: Path,
    tokenizer: Path,
    special: SpecialIds,
    shard: Path,
    ids: tuple[str, ...],
    batch_rows: int,
    machine: str,
) -> None:
    """Write the TOKEN_SCORES of these documents of one shard of texts; `machine` tells scores of one arithmetic from another's."""
    assert config.parent == weights.parent
    model = loaded(family, config.parent)
    table = read_table(shard, ["id", "text"])
    table = by_id(table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))))
    encoded = Encoder.open(tokenizer.parent).encode(table["text"])
    documents = zip(table["id"].to_pylist(), encoded, strict=True)
    streams = {identifier: stream_of(tokens, special) for identifier, tokens in documents}
    scored = score_streams(family, model, special, streams, batch_rows)
    arrays = []
    for column, kind in zip(zip(*scored, strict=True), TOKEN_SCORES.types, strict=True):
        arrays.append(pa.array(list(column), kind))
    write_table(pa.Table.from_arrays(arrays, schema=TOKEN_SCORES), out / f"{shard.stem}.parquet")


@lru_cache(maxsize=1)  # once, to score and to write samples
def loaded(family: str, folder: Path) -> PreTrainedModel:
    """Return the model in `folder`, on the device that scores it."""
    return place(load(family, folder))


def score_streams(
    family: str, model: PreTrainedModel, special: SpecialIds, streams: Mapping[str, np.ndarray], batch_rows: int
) -> list[ScoredDocument]:
    """Return the scores of documents, given as {id: stream}, in that order."""
    context = context_of(model.config)
    reads_one_way = TRAITS[family].continues_text
    jobs: list[tuple[str, Window]] = []
    for identifier, stream in streams.items():
        jobs += [(identifier, window) for window in windows(len(stream), context, reads_one_way)]
    score_rows = partial(FAMILIES[family].scorer, model, special)
    jobs.sort(key=lambda job: job[1].begin - job[1].end)  # windows of like length are padded least
    parts: dict[str, list[ScoredDocument]] = defaultdict(list)
    first = 0
    while first < len(jobs):
        _, longest = jobs[first]
        rows = min(batch_rows, max(1, batch_rows * LONG_WINDOW // (longest.end - longest.begin)))
        batch = jobs[first : first + rows]
        first += rows
        for part in _score_batch(score_rows, streams, batch):
            parts[part.id].append(part)
    return [_joined(identifier, parts[identifier]) for identifier in streams]


def _score_batch(
    score_rows: Callable[[list[np.ndarray], list[int]], list[RowScores]],
    streams: Mapping[str, np.ndarray],
    batch: list[tuple[str, Window]],
) -> Iterator[ScoredDocument]:
    """Yield the scores of each window. Raises UserError for a loss that is not a number."""
    rows = [streams[identifier][window.begin : window.end] for identifier, window in batch]
    seeds = [seed_of("hidden", identifier, window.begin) for identifier, window in batch]
    for (identifier, window), scores in zip(batch, score_rows(rows, seeds), strict=True):
        is_new = scores.places + window.begin >= window.scored_from
        nats = scores.nats[is_new]
        if not np.isfinite(nats).all():
            raise UserError(
                f"the model gives document {identifier} a loss that is not a number: its training diverged. "
                "Lower the learning rate in params.yaml and run `dvc repro`."
            )
        stream_places = scores.places[is_new] + window.begin
        labels = streams[identifier][stream_places]
        yield ScoredDocument(identifier, stream_places - 1, labels, nats, scores.correct[is_new])


def _joined(identifier: str, parts: list[ScoredDocument]) -> ScoredDocument:
    """Return the scores of a document's windows in the order of its text."""
    parts = [part for part in parts if len(part.places)] or parts[:1]
    parts.sort(key=lambda part: int(part.places[0]) if len(part.places) else 0)
    columns = [np.concatenate(arrays) for arrays in list(zip(*parts, strict=True))[1:]]
    return ScoredDocument(identifier, *columns)
